"""Which entries of the zoo work on text or speech, and which are too large for the default run."""

from collections.abc import Sequence

import pytest

LANGUAGE = ("lstm_charlm", "lstm_ptb", "lstm_ptb_small", "lstm_wikitext2")
GLUE = ("albert_base_glue", "bert_base_glue", "minilm_glue")
SPEECH = ("lstm_hmm_swb300", "lstm_speech_digits", "rnnt_speech_digits", "rnnt_swb300")
LARGE = {
    *GLUE,
    "densenet121_imagenet",
    "lstm_hmm_swb300",
    "lstm_ptb",
    "lstm_wikitext2",
    "resnet18_imagenet",
    "resnet50_imagenet",
    "rnnt_swb300",
    "wideresnet16_cifar100",
    "wideresnet50_imagenet",
}


def marked(names: Sequence[str]) -> list[object]:
    """Return parameters for ``pytest.mark.parametrize``, those of large entries marked slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in names]

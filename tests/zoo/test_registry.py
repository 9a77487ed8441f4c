import pytest
import torch

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.zoo.registry import (
    ModelEntry,
    get_entry,
    get_model,
    list_models,
    register_model,
)
from tests.helpers.entries import GLUE, LANGUAGE, marked

IMAGENET = [name for name in list_models() if name.endswith("_imagenet")]
WORDS = torch.tensor([[1, 2, 3], [4, 5, 6]])
INPUTS = {
    **dict.fromkeys((*GLUE, *LANGUAGE), WORDS),
    "lstm_hmm_swb300": torch.randn(1, 2, 140),
    "lstm_speech_digits": torch.randn(2, 3, 200),
    "mlp_mnist": torch.randn(2, 1, 28, 28),
    "resnet8_digits": torch.randn(2, 1, 8, 8),
    **dict.fromkeys(
        ("resnet20_cifar10", "resnet32_cifar10", "wideresnet16_cifar100"),
        torch.randn(2, 3, 32, 32),
    ),
    "rnnt_speech_digits": torch.randn(2, 3, 200),
    "rnnt_swb300": torch.randn(1, 2, 340),
    **dict.fromkeys(IMAGENET, torch.randn(2, 3, 224, 224)),
}
SHAPES = {
    **dict.fromkeys(GLUE, (2, 2)),
    "lstm_charlm": (2, 3, 97),
    "lstm_hmm_swb300": (1, 2, 32_000),
    "lstm_ptb": (2, 3, 10_000),
    "lstm_ptb_small": (2, 3, 10_000),
    "lstm_speech_digits": (2, 3, 11),
    "lstm_wikitext2": (2, 3, 33_278),
    "rnnt_speech_digits": (2, 3, 1, 11),  # before the first symbol
    "rnnt_swb300": (1, 2, 1, 46),
    "wideresnet16_cifar100": (2, 100),
    **dict.fromkeys(IMAGENET, (2, 1000)),
}


@pytest.mark.parametrize("name", marked(list_models()))
def test_entry_builds_runs_forward_and_converts(name):
    module = get_model(name).eval()
    assert module(INPUTS[name]).shape == SHAPES.get(name, (2, 10))
    assert convert_to_analog(module).converted
    assert len(analog_layers(module)) > 0
    assert module(INPUTS[name]).shape == SHAPES.get(name, (2, 10))


@pytest.mark.parametrize("name", list_models())
def test_entry_is_described(name, root):
    entry = get_entry(name)
    assert entry.task
    assert entry.licence
    assert entry.metric.startswith("test_")
    assert (root / "zoo" / name / "card.md").is_file()
    assert (root / "recipes" / name / "hwa.yaml").is_file()


def test_unknown_model_names_the_closest():
    with pytest.raises(ValueError, match="known are .*Did you mean 'resnet8_digits'"):
        get_model("resnet8_digit")


def test_chance_is_a_fraction():
    with pytest.raises(ValueError, match="chance must be at least 0 and below 1, got 10"):
        ModelEntry("x", get_model, "task", "acc", 10, "data", "licence")


def test_task_has_its_own_chance_and_the_entry_their_mean():
    entry = get_entry("minilm_glue")
    assert get_entry("minilm_glue", "cola").chance == entry.tasks["cola"] == 0.0
    assert get_entry("minilm_glue", "rte").chance == 0.5
    assert entry.chance == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "message"),
    [("minilm_glue", "tasks are cola, mrpc, rte, sst2, stsb"), ("mlp_mnist", "has only one task")],
)
def test_unknown_task_is_named(name, message):
    with pytest.raises(ValueError, match=f"{name}' has no task 'qqp': .*{message}"):
        get_entry(name, "qqp")


@pytest.mark.parametrize("chance", [0.0, 1.1])
def test_chance_of_an_error_may_be_1_but_not_0(chance):
    assert ModelEntry("x", get_model, "task", "test_wer", 1.0, "data", "licence").chance == 1.0
    with pytest.raises(ValueError, match="error 'test_wer' must be above 0 and at most 1"):
        ModelEntry("x", get_model, "task", "test_wer", chance, "data", "licence")


def test_name_is_registered_once():
    def resnet8_digits():
        """Stand for another entry of the same name."""

    list_models()
    with pytest.raises(ValueError, match="registered twice"):
        register_model(task="", metric="", chance=0, data="", licence="")(resnet8_digits)

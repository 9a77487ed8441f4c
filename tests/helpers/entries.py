"""Which entries of the zoo are too large for the default run of the tests."""

from collections.abc import Sequence

import pytest

LARGE = {
    "densenet121_imagenet",
    "resnet18_imagenet",
    "resnet50_imagenet",
    "wideresnet16_cifar100",
    "wideresnet50_imagenet",
}


def marked(names: Sequence[str]) -> list[object]:
    """Return parameters for ``pytest.mark.parametrize``, those of large entries marked slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in names]

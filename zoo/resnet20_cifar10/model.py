"""ResNet-20 for CIFAR-10, and the weights it can start from."""

from typing import Any

from aimc_lightning.zoo.cifar_resnet import CifarResNetClassifier
from aimc_lightning.zoo.registry import register_model


class ResNet20Cifar10(CifarResNetClassifier):
    """ResNet-20: three stages of three residual blocks; see ``CifarResNet``."""

    blocks = 3


@register_model(
    task="classify photographs into ten classes, 32 x 32 pixels",
    metric="test_acc",
    chance=0.1,
    data="CIFAR-10 (60,000 images)",
    licence="data: no formal licence, cite Krizhevsky 2009; given weights BSD 2-clause",
    given_weights="weights/resnet20_cifar10_option_a.safetensors",
)
def resnet20_cifar10(**arguments: Any) -> ResNet20Cifar10:  # noqa: ANN401
    """Return the module; arguments as of :class:`ResNet20Cifar10`."""
    return ResNet20Cifar10(**arguments)

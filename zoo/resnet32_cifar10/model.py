"""ResNet-32 for CIFAR-10, and the weights it can start from."""

from typing import Any

from aimc_lightning.zoo.cifar_resnet import CifarResNet
from aimc_lightning.zoo.classifier import ImageClassifier
from aimc_lightning.zoo.registry import register_model


class ResNet32Cifar10(ImageClassifier):
    """ResNet-32: three stages of five residual blocks; see ``CifarResNet``."""

    def __init__(
        self,
        weights: str | None = None,
        label_smoothing: float = 0.0,
        learning_rate: float = 0.05,
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            label_smoothing: Share of the target spread over all classes, 0 to below 1.
            learning_rate: Of SGD; only used when the command line names no other optimizer.
        """
        super().__init__(CifarResNet(5), 10, weights, label_smoothing, learning_rate)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights


@register_model(
    task="classify photographs into ten classes, 32 x 32 pixels",
    metric="test_acc",
    chance=0.1,
    data="CIFAR-10 (60,000 images)",
    licence="data: no formal licence, cite Krizhevsky 2009; given weights BSD 2-clause",
    given_weights="weights/resnet32_cifar10_option_a.safetensors",
)
def resnet32_cifar10(**arguments: Any) -> ResNet32Cifar10:  # noqa: ANN401
    """Return the module; arguments as of :class:`ResNet32Cifar10`."""
    return ResNet32Cifar10(**arguments)

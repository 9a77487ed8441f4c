"""ResNet-18 of torchvision for ImageNet."""

from typing import Any

from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.torchvision_network import TorchvisionClassifier


class ResNet18ImageNet(TorchvisionClassifier):
    """``torchvision.models.resnet18``; see ``TorchvisionClassifier`` for the arguments.

    Source:
        He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, table 1.
    """

    architecture = "resnet18"


@register_model(
    task="classify photographs into a thousand classes, 224 x 224 pixels",
    metric="test_acc",
    chance=0.001,
    data="ImageNet, ILSVRC 2012 (1,331,167 images)",
    licence="data and the weights made from them: ImageNet terms, research use",
)
def resnet18_imagenet(**arguments: Any) -> ResNet18ImageNet:  # noqa: ANN401
    """Return the module; arguments as of :class:`ResNet18ImageNet`."""
    return ResNet18ImageNet(**arguments)

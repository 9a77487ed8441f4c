"""DenseNet-121 of torchvision for ImageNet."""

from typing import Any

from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.torchvision_network import TorchvisionClassifier


class DenseNet121ImageNet(TorchvisionClassifier):
    """``torchvision.models.densenet121``; see ``TorchvisionClassifier`` for the arguments.

    Source:
        Huang et al., "Densely Connected Convolutional Networks", arXiv 1608.06993, table 1.
    """

    architecture = "densenet121"


@register_model(
    task="classify photographs into a thousand classes, 224 x 224 pixels",
    metric="test_acc",
    chance=0.001,
    data="ImageNet, ILSVRC 2012 (1,331,167 images)",
    licence="data and the weights made from them: ImageNet terms, research use",
)
def densenet121_imagenet(**arguments: Any) -> DenseNet121ImageNet:  # noqa: ANN401
    """Return the module; arguments as of :class:`DenseNet121ImageNet`."""
    return DenseNet121ImageNet(**arguments)

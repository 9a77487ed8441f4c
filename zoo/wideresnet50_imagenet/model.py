"""WideResNet-50-2 of torchvision for ImageNet."""

from typing import Any

from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.torchvision_network import TorchvisionClassifier


class WideResNet50ImageNet(TorchvisionClassifier):
    """``torchvision.models.wide_resnet50_2``; see ``TorchvisionClassifier`` for the arguments.

    Source:
        Zagoruyko and Komodakis, "Wide Residual Networks", arXiv 1605.07146, section 3.4.
    """

    architecture = "wide_resnet50_2"


@register_model(
    task="classify photographs into a thousand classes, 224 x 224 pixels",
    metric="test_acc",
    chance=0.001,
    data="ImageNet, ILSVRC 2012 (1,331,167 images)",
    licence="data and the weights made from them: ImageNet terms, research use",
)
def wideresnet50_imagenet(**arguments: Any) -> WideResNet50ImageNet:  # noqa: ANN401
    """Return the module; arguments as of :class:`WideResNet50ImageNet`."""
    return WideResNet50ImageNet(**arguments)

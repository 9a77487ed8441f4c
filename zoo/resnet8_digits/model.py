"""Residual network of eight layers for 8 x 8 digits, and how it is trained and scored."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_lightning.zoo.cifar_resnet import ResidualBlock
from aimc_lightning.zoo.classifier import ImageClassifier
from aimc_lightning.zoo.registry import register_model


class ResNet8(nn.Module):
    """One convolution, three residual blocks of two, and a linear layer: eight layers with weights.

    The stages have 16, 32 and 64 channels on maps of 8 x 8, 4 x 4 and 2 x 2. Where a block changes
    the shape, its shortcut takes every second pixel and fills new channels with zeros: it has no
    weights (option A of He et al., "Deep Residual Learning", arXiv 1512.03385, section 4.2).
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.block1 = ResidualBlock(16, 16, centred=False)
        self.block2 = ResidualBlock(16, 32, centred=False)
        self.block3 = ResidualBlock(32, 64, centred=False)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, classes)`` of images ``(batch, 1, 8, 8)``."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.block3(self.block2(self.block1(x)))
        return self.linear(x.mean(dim=(2, 3)))


class ResNet8Digits(ImageClassifier):
    """Classifier of handwritten digits; logs ``train_loss``, ``val_acc`` and ``test_acc``."""

    def __init__(
        self,
        weights: str | None = None,
        label_smoothing: float = 0.0,
        learning_rate: float = 0.002,
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            label_smoothing: Share of the target spread over all classes, 0 to below 1.
            learning_rate: Of Adam; only used when the command line names no other optimizer.
        """
        super().__init__(ResNet8(), 10, weights, label_smoothing, learning_rate)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


@register_model(
    task="classify handwritten digits, 8 x 8 pixels",
    metric="test_acc",
    chance=0.1,
    data="digits of scikit-learn (UCI optdigits test part, 1,797 images)",
    licence="data CC BY 4.0, shipped inside scikit-learn",
)
def resnet8_digits(**arguments: Any) -> ResNet8Digits:  # noqa: ANN401
    """Return the module; arguments as of :class:`ResNet8Digits`."""
    return ResNet8Digits(**arguments)

"""Residual network of eight layers for 8 x 8 digits, and how it is trained and scored."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.weights import load_weights


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
        self.block1 = ResidualBlock(16, 16)
        self.block2 = ResidualBlock(16, 32)
        self.block3 = ResidualBlock(32, 64)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, classes)`` of images ``(batch, 1, 8, 8)``."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.block3(self.block2(self.block1(x)))
        return self.linear(x.mean(dim=(2, 3)))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut without weights."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.stride = 1 if in_channels == out_channels else 2
        self.new_channels = out_channels - in_channels
        self.conv1 = nn.Conv2d(
            in_channels, out_channels, 3, stride=self.stride, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; height and width are halved where channels are added."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels)))


class ResNet8Digits(LightningModule):
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
        super().__init__()
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights
        self.network = ResNet8()
        if weights is not None:
            load_weights(self.network, weights)
        self.label_smoothing = label_smoothing
        self.learning_rate = learning_rate
        self.val_acc = MulticlassAccuracy(num_classes=10, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes=10, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, 10)`` of normalised images ``(batch, 1, 8, 8)``."""
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross entropy of one batch."""
        images, labels = batch
        loss = F.cross_entropy(self(images), labels, label_smoothing=self.label_smoothing)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val_acc``."""
        images, labels = batch
        self.val_acc(self(images), labels)
        self.log("val_acc", self.val_acc, on_epoch=True, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``test_acc``."""
        images, labels = batch
        self.test_acc(self(images), labels)
        self.log("test_acc", self.test_acc, on_epoch=True)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the most likely digit of each image."""
        return self(batch[0]).argmax(dim=1)

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

"""ResNet-32 for CIFAR-10 with shortcuts that have no weights, and how it is trained and scored."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.weights import load_weights


class ResNet32(nn.Module):
    """One convolution, three stages of five residual blocks and a linear layer: 32 layers.

    The stages have 16, 32 and 64 channels on maps of 32 x 32, 16 x 16 and 8 x 8; 464,154
    parameters. The keys of the state dict are those of the public weights named in ``card.md``.

    Source:
        He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2,
        n = 5 with option A: shortcuts take every second pixel and fill new channels with zeros.
    """

    def __init__(self, num_classes: int = 10, blocks: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks)
        self.layer2 = _stage(16, 32, blocks)
        self.layer3 = _stage(32, 64, blocks)
        self.linear = nn.Linear(64, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, classes)`` of images ``(batch, 3, 32, 32)``."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut without weights."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.stride = 1 if in_channels == out_channels else 2
        self.new_channels = (out_channels - in_channels) // 2  # before and after the old ones
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
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, self.new_channels, self.new_channels)))


class ResNet32Cifar10(LightningModule):
    """Classifier of CIFAR-10 images; logs ``train_loss``, ``val_acc`` and ``test_acc``."""

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
        super().__init__()
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights
        self.network = ResNet32()
        if weights is not None:
            load_weights(self.network, weights)
        self.label_smoothing = label_smoothing
        self.learning_rate = learning_rate
        self.val_acc = MulticlassAccuracy(num_classes=10, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes=10, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, 10)`` of normalised images ``(batch, 3, 32, 32)``."""
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
        """Return the most likely class of each image."""
        return self(batch[0]).argmax(dim=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD with momentum."""
        return torch.optim.SGD(
            self.parameters(), lr=self.learning_rate, momentum=0.9, weight_decay=5e-4
        )


def _stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    """Return residual blocks in a row, the first of which changes the shape."""
    first = ResidualBlock(in_channels, out_channels)
    rest = [ResidualBlock(out_channels, out_channels) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


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

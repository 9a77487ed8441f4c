"""Residual networks for CIFAR-10 with shortcuts that have no weights, and their classifier."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from aimc_lightning.zoo.classifier import ImageClassifier


class CifarResNet(nn.Module):
    """One convolution, three stages of residual blocks and a linear layer.

    The stages have 16, 32 and 64 channels on maps of 32 x 32, 16 x 16 and 8 x 8. The keys of the
    state dict are those of the public weights that the cards name.

    Source:
        He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2,
        with option A: shortcuts take every second pixel and fill new channels with zeros.
    """

    def __init__(self, blocks: int, num_classes: int = 10) -> None:
        """Build ``6 blocks + 2`` layers: ``blocks`` residual blocks in each stage."""
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

    def __init__(self, in_channels: int, out_channels: int, *, centred: bool = True) -> None:
        """Build the block.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output; more of them halve height and width.
            centred: Whether the shortcut puts new channels on both sides of the old ones, as the
                public weights want it, or all behind them.
        """
        super().__init__()
        self.stride = 1 if in_channels == out_channels else 2
        new = out_channels - in_channels
        before = new // 2 if centred else 0
        self.new_channels = before, new - before
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
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, *self.new_channels)))


def _stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    """Return residual blocks in a row, the first of which changes the shape."""
    first = ResidualBlock(in_channels, out_channels)
    rest = [ResidualBlock(out_channels, out_channels) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class CifarResNetClassifier(ImageClassifier):
    """Classifier of CIFAR-10 images; a subclass says how deep its network is.

    Attributes:
        blocks: Residual blocks in each stage.
    """

    blocks: ClassVar[int]

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
        super().__init__(CifarResNet(self.blocks), 10, weights, label_smoothing, learning_rate)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights

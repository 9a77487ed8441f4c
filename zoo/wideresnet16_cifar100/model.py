"""WideResNet-16-4 for CIFAR-100: few layers, four times as many channels as a ResNet."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from aimc_lightning.zoo.classifier import ImageClassifier
from aimc_lightning.zoo.registry import register_model


class WideResNet16(nn.Module):
    """One convolution, three groups of two blocks and a linear layer; 2,772,020 parameters.

    The groups have 64, 128 and 256 channels on maps of 32 x 32, 16 x 16 and 8 x 8. The depth of 16
    counts all convolutions, the three in shortcuts included, and not the linear layer.

    Source:
        Zagoruyko and Komodakis, "Wide Residual Networks", arXiv 1605.07146, table 1, with depth 16,
        width 4 and no dropout.
    """

    def __init__(self, num_classes: int = 100) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.group1 = nn.Sequential(WideBlock(16, 64, 1), WideBlock(64, 64, 1))
        self.group2 = nn.Sequential(WideBlock(64, 128, 2), WideBlock(128, 128, 1))
        self.group3 = nn.Sequential(WideBlock(128, 256, 2), WideBlock(256, 256, 1))
        self.bn = nn.BatchNorm2d(256)
        self.linear = nn.Linear(256, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, classes)`` of images ``(batch, 3, 32, 32)``."""
        x = self.group3(self.group2(self.group1(self.conv1(images))))
        return self.linear(F.relu(self.bn(x)).mean(dim=(2, 3)))


class WideBlock(nn.Module):
    """Two convolutions, each after batch normalisation and rectification, and a shortcut.

    Where the shape changes, the shortcut is a convolution of 1 x 1; elsewhere it has no weights.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = None
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (x if self.shortcut is None else self.shortcut(active))


class WideResNet16Cifar100(ImageClassifier):
    """Classifier of CIFAR-100 images; logs ``train_loss``, ``val_acc`` and ``test_acc``."""

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
        super().__init__(WideResNet16(), 100, weights, label_smoothing, learning_rate)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights


@register_model(
    task="classify photographs into a hundred classes, 32 x 32 pixels",
    metric="test_acc",
    chance=0.01,
    data="CIFAR-100 (60,000 images)",
    licence="data: no formal licence, cite Krizhevsky 2009",
)
def wideresnet16_cifar100(**arguments: Any) -> WideResNet16Cifar100:  # noqa: ANN401
    """Return the module; arguments as of :class:`WideResNet16Cifar100`."""
    return WideResNet16Cifar100(**arguments)

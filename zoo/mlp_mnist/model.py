"""Perceptron for handwritten digits of 28 x 28 pixels, and how it is trained and scored."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_lightning.zoo.classifier import ImageClassifier
from aimc_lightning.zoo.registry import register_model


class Perceptron(nn.Module):
    """784 pixels, two hidden layers of 256 rectified units, ten classes; 269,322 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(784, 256)
        self.hidden2 = nn.Linear(256, 256)
        self.output = nn.Linear(256, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, 10)`` of images ``(batch, 1, 28, 28)``."""
        x = F.relu(self.hidden1(images.flatten(1)))
        return self.output(F.relu(self.hidden2(x)))


class MlpMnist(ImageClassifier):
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
        super().__init__(Perceptron(), 10, weights, label_smoothing, learning_rate)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


@register_model(
    task="classify handwritten digits, 28 x 28 pixels",
    metric="test_acc",
    chance=0.1,
    data="MNIST (70,000 images)",
    licence="data: MNIST, often stated as CC BY-SA 3.0",
)
def mlp_mnist(**arguments: Any) -> MlpMnist:  # noqa: ANN401
    """Return the module; arguments as of :class:`MlpMnist`."""
    return MlpMnist(**arguments)

"""Perceptron for handwritten digits of 28 x 28 pixels, and how it is trained and scored."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.weights import load_weights


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


class MlpMnist(LightningModule):
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
        self.network = Perceptron()
        if weights is not None:
            load_weights(self.network, weights)
        self.label_smoothing = label_smoothing
        self.learning_rate = learning_rate
        self.val_acc = MulticlassAccuracy(num_classes=10, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes=10, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, 10)`` of normalised images ``(batch, 1, 28, 28)``."""
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
    task="classify handwritten digits, 28 x 28 pixels",
    metric="test_acc",
    chance=0.1,
    data="MNIST (70,000 images)",
    licence="data: MNIST, often stated as CC BY-SA 3.0",
)
def mlp_mnist(**arguments: Any) -> MlpMnist:  # noqa: ANN401
    """Return the module; arguments as of :class:`MlpMnist`."""
    return MlpMnist(**arguments)

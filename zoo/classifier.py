"""How the image classifiers of the zoo are trained and scored."""

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from aimc_lightning.zoo.weights import load_weights


class ImageClassifier(LightningModule):
    """Classifier of images; logs ``train_loss``, ``val_acc`` and ``test_acc``."""

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        weights: str | None,
        label_smoothing: float,
        learning_rate: float,
    ) -> None:
        """Take the network.

        Args:
            network: Gives logits ``(batch, classes)`` of images ``(batch, channels, h, w)``.
            num_classes: Classes.
            weights: Safetensors file of trained digital weights; None leaves the network as it is.
            label_smoothing: Share of the target spread over all classes, 0 to below 1.
            learning_rate: Only used when the command line names no other optimizer.
        """
        super().__init__()
        self.network = network
        if weights is not None:
            load_weights(network, weights)
        self.label_smoothing, self.learning_rate = label_smoothing, learning_rate
        self.val_acc = MulticlassAccuracy(num_classes=num_classes, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes=num_classes, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, classes)`` of normalised images."""
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

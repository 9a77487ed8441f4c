"""Train, validation and test part of images that fit into memory."""

from typing import ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from aimc_lightning.zoo.batches import ImageArray, make_loader

_SPLIT_SEED = 0


class ImageData(LightningDataModule):
    """Images of ``load``, the training part altered by ``augment``; a subclass gives both.

    Attributes:
        mean: Mean of each channel, pixels scaled to 0..1.
        std: Standard deviation of each channel, same scale.
    """

    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]

    def __init__(self, batch_size: int, eval_batch_size: int, val_size: int, seed: int) -> None:
        """Store the settings.

        Args:
            batch_size: Images in a training batch.
            eval_batch_size: Images in a batch of validation, test and prediction.
            val_size: Images held out of the training images for selection.
            seed: Seed of order and augmentation; the split does not depend on it.
        """
        super().__init__()
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.val_size, self.seed = val_size, seed
        self.train: ImageArray | None = None
        self.val: ImageArray | None = None
        self.test: ImageArray | None = None

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        """Return images, uint8, and labels of the split ``train`` or ``test``."""
        raise NotImplementedError

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return altered training images, uint8, same shape."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Load what the stage needs, once."""
        if stage in ("fit", "validate") and self.train is None:
            images, labels = self.load("train")
            kept, held_out = hold_out(len(images), self.val_size)
            self.train = self.array(images[kept], labels[kept], augment=True)
            self.val = self.array(images[held_out], labels[held_out])
        if stage in ("test", "predict") and self.test is None:
            self.test = self.array(*self.load("test"))

    def array(self, images: Tensor, labels: Tensor, augment: bool = False) -> ImageArray:
        """Return the images with this module's normalisation."""
        function = self.augment if augment else None
        return ImageArray(
            images, labels, mean=self.mean, std=self.std, augment=function, seed=self.seed
        )

    def train_dataloader(self) -> DataLoader:
        """Return shuffled, augmented batches."""
        world, rank = (
            (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        )
        return make_loader(
            self.train, self.batch_size, shuffle=True, world_size=world, rank=rank, seed=self.seed
        )

    def val_dataloader(self) -> DataLoader:
        """Return the validation images."""
        return make_loader(self.val, self.eval_batch_size)

    def test_dataloader(self) -> DataLoader:
        """Return the test images."""
        return make_loader(self.test, self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader:
        """Return the test images."""
        return self.test_dataloader()


def hold_out(count: int, val_size: int) -> tuple[Tensor, Tensor]:
    """Split training images once and for all.

    Args:
        count: Training images.
        val_size: How many of them to hold out.

    Returns:
        Numbers of the images kept for training and of those held out, int64.

    Raises:
        ValueError: If one of the parts would be empty.
    """
    if not 0 < val_size < count:
        raise ValueError(
            f"val_size must be between 1 and {count - 1} for {count} training images, "
            f"got {val_size}."
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    return order[val_size:], order[:val_size]

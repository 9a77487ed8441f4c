"""The 1,797 digits inside scikit-learn, split once and for all into 1,000 / 297 / 500."""

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from aimc_lightning.zoo.batches import ImageArray, make_loader, random_shift

try:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError as error:
    raise ImportError(
        "resnet8_digits reads its data from scikit-learn, which is not installed: "
        "pip install 'aimc-lightning[zoo]'"
    ) from error

# Mean and standard deviation of the 1,000 training images, pixels scaled to 0..1.
MEAN, STD = (0.3051,), (0.3757,)
_SPLIT_SEED = 0


class DigitsData(LightningDataModule):
    """Digits split with fixed seed and equal shares of classes: 1,000 train, 297 val, 500 test."""

    def __init__(
        self,
        batch_size: int = 50,
        eval_batch_size: int = 500,
        shift_pixels: int = 1,
        seed: int = 0,
    ) -> None:
        """Store the settings.

        Args:
            batch_size: Images in a training batch.
            eval_batch_size: Images in a batch of validation, test and prediction.
            shift_pixels: Largest random offset of a training image in each direction.
            seed: Seed of order and augmentation; the split does not depend on it.
        """
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.shift_pixels = shift_pixels
        self.seed = seed
        self.train: ImageArray | None = None
        self.val: ImageArray | None = None
        self.test: ImageArray | None = None

    def setup(self, stage: str) -> None:
        """Read and split the images, once."""
        if self.train is not None:
            return
        digits = load_digits()
        images = torch.from_numpy(digits.images * (255.0 / 16.0)).round().to(torch.uint8)
        labels = torch.from_numpy(digits.target).long()
        rest, test = _split(torch.arange(len(labels)), labels, 500)
        train, val = _split(rest, labels, 297)
        self.train, self.val, self.test = (
            ImageArray(
                images[part].unsqueeze(1),
                labels[part],
                mean=MEAN,
                std=STD,
                augment=self._augment if part is train else None,
                seed=self.seed,
            )
            for part in (train, val, test)
        )

    def train_dataloader(self) -> DataLoader:
        """Return shuffled batches of the 1,000 training images."""
        world, rank = (
            (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        )
        return make_loader(
            self.train, self.batch_size, shuffle=True, world_size=world, rank=rank, seed=self.seed
        )

    def val_dataloader(self) -> DataLoader:
        """Return the 297 validation images, on which checkpoints are selected."""
        return make_loader(self.val, self.eval_batch_size)

    def test_dataloader(self) -> DataLoader:
        """Return the 500 test images."""
        return make_loader(self.test, self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader:
        """Return the 500 test images."""
        return self.test_dataloader()

    def _augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Move each training image by up to ``shift_pixels``."""
        return random_shift(images, self.shift_pixels, generator)


def _split(indices: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Take ``size`` of the indices away, with equal shares of classes."""
    kept, taken = train_test_split(
        indices.numpy(), test_size=size, stratify=labels[indices].numpy(), random_state=_SPLIT_SEED
    )
    return torch.from_numpy(kept), torch.from_numpy(taken)

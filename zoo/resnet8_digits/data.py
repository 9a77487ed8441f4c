"""The 1,797 digits inside scikit-learn, split once and for all into 1,000 / 297 / 500."""

import torch
from torch import Tensor

from aimc_lightning.zoo.batches import random_shift
from aimc_lightning.zoo.image_data import ImageData

try:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError as error:
    raise ImportError(
        "resnet8_digits reads its data from scikit-learn, which is not installed: "
        "pip install 'aimc-lightning[zoo]'"
    ) from error

_SPLIT_SEED = 0


class DigitsData(ImageData):
    """Digits split with fixed seed and equal shares of classes: 1,000 train, 297 val, 500 test."""

    # Mean and standard deviation of the 1,000 training images, pixels scaled to 0..1.
    mean, std = (0.3051,), (0.3757,)

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
        super().__init__(batch_size, eval_batch_size, 297, seed)
        self.shift_pixels = shift_pixels

    def setup(self, stage: str) -> None:
        """Read and split the images, once."""
        if self.train is not None:
            return
        digits = load_digits()
        images = torch.from_numpy(digits.images * (255.0 / 16.0)).round().to(torch.uint8)
        images, labels = images.unsqueeze(1), torch.from_numpy(digits.target).long()
        rest, test = _split(torch.arange(len(labels)), labels, 500)
        train, val = _split(rest, labels, self.val_size)
        self.train = self.array(images[train], labels[train], augment=True)
        self.val = self.array(images[val], labels[val])
        self.test = self.array(images[test], labels[test])

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Move each training image by up to ``shift_pixels``."""
        return random_shift(images, self.shift_pixels, generator)


def _split(indices: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Take ``size`` of the indices away, with equal shares of classes."""
    kept, taken = train_test_split(
        indices.numpy(), test_size=size, stratify=labels[indices].numpy(), random_state=_SPLIT_SEED
    )
    return torch.from_numpy(kept), torch.from_numpy(taken)

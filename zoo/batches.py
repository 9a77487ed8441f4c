"""Images held in memory and fetched a whole batch at a time, with augmentation per sample.

Order and augmentation depend on seed, epoch and batch alone, so a resumed epoch sees the same data.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, DistributedSampler

Augment = Callable[[Tensor, torch.Generator], Tensor]


class ImageArray(Dataset):
    """Images as bytes in memory; a batch is normalised, and augmented, in one go."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Store the arrays.

        Args:
            images: Pixels 0..255, uint8, shape ``(samples, channels, height, width)``.
            labels: Class of each image, int64, shape ``(samples,)``.
            mean: Mean of each channel, with pixels scaled to 0..1.
            std: Standard deviation of each channel, same scale.
            augment: Function of uint8 images and a generator; None leaves the images alone.
            seed: Seed of the augmentation.

        Raises:
            ValueError: If there is no image, or not one label for each.
        """
        if len(images) == 0:
            raise ValueError("the data set is empty: 'images' needs at least one.")
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images need as many labels, got {len(labels)}.")
        self.images, self.labels = images, labels
        self.mean = torch.tensor(mean).view(1, -1, 1, 1)
        self.std = torch.tensor(std).view(1, -1, 1, 1)
        self.augment, self.seed, self.epoch = augment, seed, 0

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image and its label."""
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch: float images ``(batch, channels, height, width)`` and labels."""
        chosen = torch.as_tensor(indices)
        images = self.images[chosen]
        if self.augment is not None:
            generator = torch.Generator()
            generator.manual_seed(hash((self.seed, self.epoch, *indices)) % 2**63)
            images = self.augment(images, generator)
        return (images.float() / 255.0 - self.mean) / self.std, self.labels[chosen]


class EpochSampler(DistributedSampler):
    """Shuffle by seed and epoch, split over processes, and tell the data set the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this before each one."""
        super().set_epoch(epoch)
        self.dataset.epoch = epoch


def make_loader(
    data: ImageArray,
    batch_size: int,
    *,
    shuffle: bool = False,
    world_size: int = 1,
    rank: int = 0,
    seed: int = 0,
) -> DataLoader:
    """Return a loader that fetches whole batches in the main process.

    Args:
        data: The images.
        batch_size: Images in a batch.
        shuffle: Whether to draw a new order in each epoch.
        world_size: Processes that share a shuffled epoch.
        rank: Number of this process.
        seed: Seed of the order.

    Returns:
        The loader. There are no worker processes: fetching a batch takes about a millisecond.

    Raises:
        ValueError: If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    sampler = EpochSampler(data, world_size, rank, shuffle=True, seed=seed) if shuffle else None
    return DataLoader(data, batch_size, sampler=sampler, collate_fn=_as_fetched)


def random_shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each image by its own random offset; what enters is black.

    The same as padding with zeros and cropping at random, as is usual for CIFAR-10.

    Args:
        images: Shape ``(batch, channels, height, width)``.
        pixels: Largest offset in each direction.
        generator: Source of the offsets.

    Returns:
        The moved images, same shape and type.
    """
    batch, _, height, width = images.shape
    offsets = torch.randint(0, 2 * pixels + 1, (2, batch, 1), generator=generator)
    rows = (offsets[0] + torch.arange(height)).view(batch, 1, height, 1)
    columns = (offsets[1] + torch.arange(width)).view(batch, 1, 1, width)
    padded = F.pad(images, (pixels, pixels, pixels, pixels))
    sample = torch.arange(batch).view(batch, 1, 1, 1)
    channel = torch.arange(images.shape[1]).view(1, -1, 1, 1)
    return padded[sample, channel, rows, columns]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        images: Shape ``(batch, channels, height, width)``.
        generator: Source of the choice.

    Returns:
        The images, same shape and type.
    """
    flipped = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(flipped, images.flip(-1), images)


def random_cutout(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Black out one square of each image, at a random centre; it may reach over the border.

    Args:
        images: Shape ``(batch, channels, height, width)``.
        pixels: Side of the square; 0 returns the images.
        generator: Source of the centres.

    Returns:
        The images, same shape and type.

    Source:
        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
        arXiv 1708.04552, 2017.
    """
    if pixels == 0:
        return images
    batch, _, height, width = images.shape
    top = torch.randint(0, height, (batch, 1, 1, 1), generator=generator) - pixels // 2
    left = torch.randint(0, width, (batch, 1, 1, 1), generator=generator) - pixels // 2
    rows = torch.arange(height).view(1, 1, height, 1)
    columns = torch.arange(width).view(1, 1, 1, width)
    inside = (rows >= top) & (rows < top + pixels) & (columns >= left) & (columns < left + pixels)
    return images.masked_fill(inside, 0)


def _as_fetched(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the batch that ``__getitems__`` has put together already."""
    return batch

"""MNIST from its original idx files, packed in ``mnist.zip`` or not: 55,000 / 5,000 / 10,000."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aimc_lightning.zoo.batches import random_shift
from aimc_lightning.zoo.image_data import ImageData

_PREFIX = {"train": "train", "test": "t10k"}


class MnistData(ImageData):
    """MNIST: 55,000 train, 5,000 val (both from the 60,000 training images), 10,000 test."""

    # Mean and standard deviation of the training images, pixels scaled to 0..1.
    mean, std = (0.1307,), (0.3081,)

    def __init__(
        self,
        data_dir: str | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 1000,
        val_size: int = 5000,
        shift_pixels: int = 2,
        seed: int = 0,
    ) -> None:
        """Store the settings.

        Args:
            data_dir: Folder with ``mnist/mnist.zip``, ``mnist.zip`` or ``MNIST/raw/*-ubyte``.
            batch_size: Images in a training batch.
            eval_batch_size: Images in a batch of validation, test and prediction.
            val_size: Images held out of the training set for selection.
            shift_pixels: Largest random offset of a training image in each direction.
            seed: Seed of order and augmentation; the split does not depend on it.
        """
        super().__init__(batch_size, eval_batch_size, val_size, seed)
        self.data_dir, self.shift_pixels = data_dir, shift_pixels

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        """Return images and labels of one split."""
        return load_mnist(split, self.data_dir)

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Move each training image by up to ``shift_pixels``."""
        return random_shift(images, self.shift_pixels, generator)


def load_mnist(split: str, data_dir: str | None) -> tuple[Tensor, Tensor]:
    """Return the images and labels of one split.

    Args:
        split: ``train`` or ``test``.
        data_dir: Folder as of :class:`MnistData`.

    Returns:
        Pixels, uint8, shape ``(samples, 1, 28, 28)``, and labels, int64, shape ``(samples,)``.

    Raises:
        FileNotFoundError: If the folder holds no MNIST.
        ValueError: If a file is truncated or no idx file.
    """
    prefix = _PREFIX[split]
    images = _idx(f"{prefix}-images-idx3-ubyte", data_dir, dimensions=3)
    labels = _idx(f"{prefix}-labels-idx1-ubyte", data_dir, dimensions=1)
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long()


def _idx(name: str, data_dir: str | None, dimensions: int) -> np.ndarray:
    """Return the bytes of one idx file in their shape."""
    content = _content(name, data_dir)
    head = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:head], ">u4").astype(int)
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) - head != shape.prod():
        raise ValueError(f"{name} of MNIST is truncated or no idx file of bytes: get it again.")
    return np.frombuffer(content[head:], np.uint8).reshape(shape).copy()


def _content(name: str, data_dir: str | None) -> bytes:
    """Return the content of a file of the data set."""
    if data_dir is not None:
        for packed in (Path(data_dir, "mnist", "mnist.zip"), Path(data_dir, "mnist.zip")):
            if packed.is_file():
                with zipfile.ZipFile(packed) as archive:
                    return archive.read(f"MNIST/raw/{name}")
        plain = Path(data_dir, "MNIST", "raw", name)
        if plain.is_file():
            return plain.read_bytes()
    raise FileNotFoundError(
        f"no MNIST in {str(data_dir)!r}: give a folder with mnist/mnist.zip, mnist.zip or "
        "MNIST/raw (aimc-lightning run mlp_mnist --data DIR)."
    )

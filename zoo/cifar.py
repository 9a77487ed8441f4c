"""CIFAR-10 and CIFAR-100 through the ``datasets`` library, decoded once into byte arrays."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from aimc_lightning.zoo.batches import random_cutout, random_flip, random_shift
from aimc_lightning.zoo.image_data import ImageData

try:
    import datasets
except ImportError as error:
    raise ImportError(
        "CIFAR is read through the datasets library, which is not installed: "
        "pip install 'aimc-lightning[zoo]'"
    ) from error


@dataclass(frozen=True)
class CifarSource:
    """Where one of the two data sets lies and what its columns are called.

    Attributes:
        name: Name of the data set.
        hub_name: Its name on the Hugging Face hub.
        folder: Folder below the data folder in which its Parquet files may lie.
        label: Column of the class.
    """

    name: str
    hub_name: str
    folder: str
    label: str


CIFAR10 = CifarSource("CIFAR-10", "uoft-cs/cifar10", "cifar10", "label")
CIFAR100 = CifarSource("CIFAR-100", "uoft-cs/cifar100", "cifar100", "fine_label")


class CifarData(ImageData):
    """45,000 train, 5,000 val (both from the 50,000 training images), 10,000 test."""

    # The normalisation of the weights given for CIFAR-10 (shared with ImageNet models).
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    source: ClassVar[CifarSource]

    def __init__(
        self,
        data_dir: str | None = None,
        cache_dir: str | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        val_size: int = 5000,
        shift_pixels: int = 4,
        cutout_pixels: int = 0,
        seed: int = 0,
    ) -> None:
        """Store the settings.

        Args:
            data_dir: Folder with ``train-*.parquet`` and ``test-*.parquet`` in the layout of the
                Hugging Face data set, or with them in ``cifar10/`` (``cifar100/``) or
                ``plain_text/``; None takes the data from the hub.
            cache_dir: Folder for the decoded arrays (184 MB); None decodes in each process.
            batch_size: Images in a training batch.
            eval_batch_size: Images in a batch of validation, test and prediction.
            val_size: Images held out of the training set for selection.
            shift_pixels: Largest random offset of a training image in each direction.
            cutout_pixels: Side of the square blacked out in a training image; 0 for none.
            seed: Seed of order and augmentation; the split does not depend on it.
        """
        super().__init__(batch_size, eval_batch_size, val_size, seed)
        self.data_dir, self.cache_dir = data_dir, cache_dir
        self.shift_pixels, self.cutout_pixels = shift_pixels, cutout_pixels

    def prepare_data(self) -> None:
        """Decode into the cache, in one process only."""
        if self.cache_dir is not None:
            self.load("train")
            self.load("test")

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        """Return images and labels of one split."""
        return load_cifar(self.source, split, self.data_dir, self.cache_dir)

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Crop, mirror and cut out at random."""
        images = random_flip(random_shift(images, self.shift_pixels, generator), generator)
        return random_cutout(images, self.cutout_pixels, generator)


def load_cifar(
    source: CifarSource, split: str, data_dir: str | None = None, cache_dir: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return the images and labels of one split.

    Args:
        source: :data:`CIFAR10` or :data:`CIFAR100`.
        split: ``train`` or ``test``.
        data_dir: Folder of Parquet files, or None for the hub.
        cache_dir: Folder where decoded arrays are kept, or None.

    Returns:
        Pixels, uint8, shape ``(samples, 3, 32, 32)``, and labels, int64, shape ``(samples,)``.

    Raises:
        FileNotFoundError: If ``data_dir`` holds no such Parquet file.
        ConnectionError: If there is no ``data_dir`` and the hub cannot be reached.
        ValueError: If a file cannot be read.
    """
    files = None if data_dir is None else _parquet_files(source, split, Path(data_dir))
    cache = None
    if cache_dir is not None:
        cache = Path(cache_dir) / f"{_cache_name(source, split, files)}.npz"
        if cache.is_file():
            with np.load(cache) as stored:
                return torch.from_numpy(stored["images"]), torch.from_numpy(stored["labels"])
    images, labels = _read(source, split, files)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_name(f"{cache.stem}.{os.getpid()}.part.npz")
        np.savez(part, images=images, labels=labels)
        part.replace(cache)  # a process killed before this line leaves no half-written cache
    return torch.from_numpy(images), torch.from_numpy(labels)


def _parquet_files(source: CifarSource, split: str, data_dir: Path) -> list[Path]:
    """Return the Parquet files of one split."""
    for folder in (data_dir, data_dir / source.folder, data_dir / "plain_text"):
        files = sorted(folder.glob(f"{split}-*.parquet"))
        if files:
            return files
    raise FileNotFoundError(
        f"no {split}-*.parquet in {str(data_dir)!r}, nor in its folders {source.folder}/ and "
        f"plain_text/: give the folder that holds {source.name} as Parquet files, or leave the "
        f"data folder out to get {source.hub_name} from the Hugging Face hub."
    )


def _cache_name(source: CifarSource, split: str, files: list[Path] | None) -> str:
    """Return a file name that changes with the source of the data."""
    origin = [source.hub_name]
    if files is not None:
        origin = [f"{file.resolve()}:{file.stat().st_size}" for file in files]
    return f"{source.folder}-{split}-{hashlib.sha256(repr(origin).encode()).hexdigest()[:12]}"


def _read(
    source: CifarSource, split: str, files: list[Path] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Read and decode one split; turns whatever the libraries raise into what to do."""
    try:
        return _decode(_open(source, split, files), source.label)
    except Exception as error:  # no network, 404, timeout, a truncated file, another layout
        if files is not None:
            names = ", ".join(str(file) for file in files)
            raise ValueError(
                f"cannot read {source.name} from {names} ({type(error).__name__}: {error}): a file "
                f"is truncated, or holds something else than the columns img and {source.label}."
            ) from error
        raise ConnectionError(
            f"{source.name} is not at hand: no data folder was given and {source.hub_name} could "
            f"not be read from the Hugging Face hub ({type(error).__name__}). Give the folder of "
            "its Parquet files (aimc-lightning run ENTRY --data DIR), or try again with a network."
        ) from error


def _open(source: CifarSource, split: str, files: list[Path] | None) -> "datasets.IterableDataset":
    """Open one split as a stream, which leaves no second copy in the cache of ``datasets``."""
    if files is None:
        return datasets.load_dataset(source.hub_name, split=split, streaming=True)
    names = [str(file) for file in files]
    return datasets.load_dataset("parquet", data_files=names, split="train", streaming=True)


def _decode(rows: "datasets.IterableDataset", label: str) -> tuple[np.ndarray, np.ndarray]:
    """Decode all images of a stream; takes about 8 s for the whole data set."""
    images, labels = [], []
    for row in rows:
        image = row["img"] if "img" in row else row["image"]
        if isinstance(image, dict):  # a file without the feature types of the datasets library
            image = datasets.Image().decode_example(image)
        images.append(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
        labels.append(row[label])
    # Stacked transposed images lie channels last, those of the cache do not, and a tile draws its
    # noise in the order of memory: the same seed would give another score with a cache.
    return np.ascontiguousarray(np.stack(images)), np.asarray(labels, dtype=np.int64)

"""CIFAR-10 through the ``datasets`` library, decoded once into byte arrays."""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from aimc_lightning.zoo.batches import (
    ImageArray,
    make_loader,
    random_cutout,
    random_flip,
    random_shift,
)

try:
    import datasets
except ImportError as error:
    raise ImportError(
        "resnet32_cifar10 reads its data through the datasets library, which is not installed: "
        "pip install 'aimc-lightning[zoo]'"
    ) from error

HUB_NAME = "uoft-cs/cifar10"
# The normalisation that the given weights were trained with (shared with ImageNet models).
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SPLIT_SEED = 0


class Cifar10Data(LightningDataModule):
    """CIFAR-10: 45,000 train, 5,000 val (both from the 50,000 training images), 10,000 test."""

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
                Hugging Face data set, or with them in ``cifar10/`` or ``plain_text/``; None takes
                the data from the hub.
            cache_dir: Folder for the decoded arrays (184 MB); None decodes in each process.
            batch_size: Images in a training batch.
            eval_batch_size: Images in a batch of validation, test and prediction.
            val_size: Images held out of the training set for selection.
            shift_pixels: Largest random offset of a training image in each direction.
            cutout_pixels: Side of the square blacked out in a training image; 0 for none.
            seed: Seed of order and augmentation; the split does not depend on it.
        """
        super().__init__()
        self.data_dir, self.cache_dir = data_dir, cache_dir
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.val_size = val_size
        self.shift_pixels, self.cutout_pixels = shift_pixels, cutout_pixels
        self.seed = seed
        self.train: ImageArray | None = None
        self.val: ImageArray | None = None
        self.test: ImageArray | None = None

    def prepare_data(self) -> None:
        """Decode into the cache, in one process only."""
        if self.cache_dir is not None:
            load_cifar10("train", self.data_dir, self.cache_dir)
            load_cifar10("test", self.data_dir, self.cache_dir)

    def setup(self, stage: str) -> None:
        """Load what the stage needs, once."""
        if stage in ("fit", "validate") and self.train is None:
            images, labels = load_cifar10("train", self.data_dir, self.cache_dir)
            if not 0 < self.val_size < len(images):
                raise ValueError(
                    f"val_size must be between 1 and {len(images) - 1} for {len(images)} training "
                    f"images, got {self.val_size}."
                )
            generator = torch.Generator().manual_seed(_SPLIT_SEED)
            order = torch.randperm(len(images), generator=generator)
            held_out, kept = order[: self.val_size], order[self.val_size :]
            self.train = self._array(images[kept], labels[kept], augment=True)
            self.val = self._array(images[held_out], labels[held_out])
        if stage in ("test", "predict") and self.test is None:
            self.test = self._array(*load_cifar10("test", self.data_dir, self.cache_dir))

    def train_dataloader(self) -> DataLoader:
        """Return shuffled, augmented batches."""
        world, rank = (
            (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        )
        return make_loader(
            self.train, self.batch_size, shuffle=True, world_size=world, rank=rank, seed=self.seed
        )

    def val_dataloader(self) -> DataLoader:
        """Return the held-out training images, on which checkpoints are selected."""
        return make_loader(self.val, self.eval_batch_size)

    def test_dataloader(self) -> DataLoader:
        """Return the 10,000 test images."""
        return make_loader(self.test, self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader:
        """Return the 10,000 test images."""
        return self.test_dataloader()

    def _array(self, images: Tensor, labels: Tensor, augment: bool = False) -> ImageArray:
        """Return the images with this module's normalisation."""
        function = self._augment if augment else None
        return ImageArray(images, labels, mean=MEAN, std=STD, augment=function, seed=self.seed)

    def _augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Crop, mirror and cut out at random."""
        images = random_flip(random_shift(images, self.shift_pixels, generator), generator)
        return random_cutout(images, self.cutout_pixels, generator)


def load_cifar10(
    split: str, data_dir: str | None = None, cache_dir: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return the images and labels of one split.

    Args:
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
    files = None if data_dir is None else _parquet_files(split, Path(data_dir))
    cache = None if cache_dir is None else Path(cache_dir) / f"{_cache_name(split, files)}.npz"
    if cache is not None and cache.is_file():
        with np.load(cache) as stored:
            return torch.from_numpy(stored["images"]), torch.from_numpy(stored["labels"])
    images, labels = _read(split, files)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_name(f"{cache.stem}.{os.getpid()}.part.npz")
        np.savez(part, images=images, labels=labels)
        part.replace(cache)  # a process killed before this line leaves no half-written cache
    return torch.from_numpy(images), torch.from_numpy(labels)


def _parquet_files(split: str, data_dir: Path) -> list[Path]:
    """Return the Parquet files of one split."""
    for folder in (data_dir, data_dir / "cifar10", data_dir / "plain_text"):
        files = sorted(folder.glob(f"{split}-*.parquet"))
        if files:
            return files
    raise FileNotFoundError(
        f"no {split}-*.parquet in {str(data_dir)!r}, nor in its folders cifar10/ and plain_text/: "
        "give the folder that holds CIFAR-10 as Parquet files, or leave the data folder out to "
        f"get {HUB_NAME} from the Hugging Face hub."
    )


def _cache_name(split: str, files: list[Path] | None) -> str:
    """Return a file name that changes with the source of the data."""
    source = [HUB_NAME] if files is None else [f"{f.resolve()}:{f.stat().st_size}" for f in files]
    return f"cifar10-{split}-{hashlib.sha256(repr(source).encode()).hexdigest()[:12]}"


def _read(split: str, files: list[Path] | None) -> tuple[np.ndarray, np.ndarray]:
    """Read and decode one split; turns whatever the libraries raise into what to do."""
    try:
        return _decode(_open(split, files))
    except Exception as error:  # no network, 404, timeout, a truncated file, another layout
        if files is not None:
            names = ", ".join(str(file) for file in files)
            raise ValueError(
                f"cannot read CIFAR-10 from {names} ({type(error).__name__}: {error}): a file is "
                "truncated, or holds something else than the columns img and label."
            ) from error
        raise ConnectionError(
            f"CIFAR-10 is not at hand: no data folder was given and {HUB_NAME} could not be read "
            f"from the Hugging Face hub ({type(error).__name__}). Give the folder of its Parquet "
            "files (aimc-lightning run resnet32_cifar10 --data DIR), or try again with a network."
        ) from error


def _open(split: str, files: list[Path] | None) -> "datasets.IterableDataset":
    """Open one split as a stream, which leaves no second copy in the cache of ``datasets``."""
    if files is None:
        return datasets.load_dataset(HUB_NAME, split=split, streaming=True)
    names = [str(file) for file in files]
    return datasets.load_dataset("parquet", data_files=names, split="train", streaming=True)


def _decode(rows: "datasets.IterableDataset") -> tuple[np.ndarray, np.ndarray]:
    """Decode all images of a stream; takes about 8 s for the whole data set."""
    images, labels = [], []
    for row in rows:
        image = row["img"] if "img" in row else row["image"]
        if isinstance(image, dict):  # a file without the feature types of the datasets library
            image = datasets.Image().decode_example(image)
        images.append(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
        labels.append(row["label"])
    return np.stack(images), np.asarray(labels, dtype=np.int64)

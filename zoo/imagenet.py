"""ImageNet in its folders through the ``datasets`` library, decoded and cropped on the fly."""

from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from aimc_lightning.zoo.batches import EpochSampler
from aimc_lightning.zoo.image_data import hold_out

try:
    import datasets
    from torchvision import transforms
except ImportError as error:
    raise ImportError(
        "ImageNet is read through datasets and torchvision, one of which is not installed "
        f"({error}): pip install 'aimc-lightning[zoo]'"
    ) from error

HUB_NAME = "ILSVRC/imagenet-1k"
_CENTRE = [transforms.Resize(256), transforms.CenterCrop(224)]
_RANDOM = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
_NORMALISE = [
    transforms.ToTensor(),
    transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
]


class ImageRows(Dataset):
    """Rows of a data set; each image is decoded, cropped to 224 x 224 and normalised."""

    def __init__(self, rows: "datasets.Dataset", *, augment: bool = False, seed: int = 0) -> None:
        """Take the rows.

        Args:
            rows: With the columns ``image`` and ``label``.
            augment: Whether to crop and mirror at random; otherwise the centre is taken.
            seed: Seed of the augmentation, which depends on it, the epoch and the row alone.
        """
        self.rows, self.seed, self.epoch = rows, seed, 0
        self.transform = transforms.Compose([*(_RANDOM if augment else _CENTRE), *_NORMALISE])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image ``(3, 224, 224)`` and its class."""
        row = self.rows[index]
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.manual_seed(hash((self.seed, self.epoch, index)) % 2**63)
            return self.transform(row["image"].convert("RGB")), row["label"]


class ImageNetData(LightningDataModule):
    """ImageNet: 1,271,167 train and 10,000 val of the training images, 50,000 test.

    The test part is the official validation set, as everywhere: the labels of the official test
    set are not public.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        cache_dir: str | None = None,
        batch_size: int = 256,
        eval_batch_size: int = 250,
        val_size: int = 10_000,
        num_workers: int = 8,
        seed: int = 0,
    ) -> None:
        """Store the settings.

        Args:
            data_dir: Folder with ``train/<class>/*.JPEG`` and ``val/<class>/*.JPEG``; None takes
                the data from the hub, where its terms have to be accepted first.
            cache_dir: Folder for the lists of files; None is that of the datasets library.
            batch_size: Images in a training batch of one process.
            eval_batch_size: Images in a batch of validation, test and prediction.
            val_size: Images held out of the training set for selection.
            num_workers: Processes that decode images, for each process that trains.
            seed: Seed of order and augmentation; the split does not depend on it.
        """
        super().__init__()
        self.data_dir, self.cache_dir = data_dir, cache_dir
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.val_size, self.num_workers, self.seed = val_size, num_workers, seed
        self.train: ImageRows | None = None
        self.val: ImageRows | None = None
        self.test: ImageRows | None = None

    def prepare_data(self) -> None:
        """List the files, in one process only."""
        for split in ("train", "val"):
            load_imagenet(split, self.data_dir, self.cache_dir)

    def setup(self, stage: str) -> None:
        """Open what the stage needs, once."""
        if stage in ("fit", "validate") and self.train is None:
            rows = load_imagenet("train", self.data_dir, self.cache_dir)
            kept, held_out = hold_out(len(rows), self.val_size)
            self.train = ImageRows(rows.select(kept.numpy()), augment=True, seed=self.seed)
            self.val = ImageRows(rows.select(held_out.numpy()))
        if stage in ("test", "predict") and self.test is None:
            self.test = ImageRows(load_imagenet("val", self.data_dir, self.cache_dir))

    def train_dataloader(self) -> DataLoader:
        """Return shuffled, augmented batches."""
        world, rank = (
            (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        )
        sampler = EpochSampler(self.train, world, rank, shuffle=True, seed=self.seed)
        return self._loader(self.train, self.batch_size, sampler)

    def val_dataloader(self) -> DataLoader:
        """Return the held-out training images."""
        return self._loader(self.val, self.eval_batch_size)

    def test_dataloader(self) -> DataLoader:
        """Return the 50,000 images of the official validation set."""
        return self._loader(self.test, self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader:
        """Return the test images."""
        return self.test_dataloader()

    def _loader(
        self, rows: ImageRows, batch_size: int, sampler: EpochSampler | None = None
    ) -> DataLoader:
        return DataLoader(
            rows,
            batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            pin_memory=torch.accelerator.is_available(),
        )


def load_imagenet(split: str, data_dir: str | None, cache_dir: str | None) -> "datasets.Dataset":
    """Return the rows of one split, with the columns ``image`` and ``label``; nothing is decoded.

    Args:
        split: ``train`` or ``val``.
        data_dir: Folder as of :class:`ImageNetData`, or None for the hub.
        cache_dir: Folder for the lists of files, or None.

    Returns:
        The rows; classes are numbered in the order of their names, as everywhere.

    Raises:
        FileNotFoundError: If ``data_dir`` lacks one of the two folders.
        ValueError: If the two do not hold the same classes, so that their numbers would differ.
        ConnectionError: If there is no ``data_dir`` and the hub cannot be read.
    """
    if data_dir is None:
        try:
            name = {"train": "train", "val": "validation"}[split]
            return datasets.load_dataset(HUB_NAME, split=name, cache_dir=cache_dir)
        except Exception as error:  # no network, terms not accepted, timeout
            raise ConnectionError(
                f"ImageNet is not at hand: no data folder was given and {HUB_NAME} could not be "
                f"read from the Hugging Face hub ({type(error).__name__}). Give the folder that "
                "holds train/ and val/ (aimc-lightning run ENTRY --data DIR), or accept the terms "
                "on the hub and log in."
            ) from error
    classes = {part: _classes(Path(data_dir, part)) for part in ("train", "val")}
    if classes["train"] != classes["val"]:
        different = sorted(set(classes["train"]) ^ set(classes["val"]))
        raise ValueError(
            f"train/ and val/ in {data_dir!r} must hold the same classes, {different[0]!r} is only "
            "in one of them: sort the validation images into one folder for each class."
        )
    return datasets.load_dataset(
        "imagefolder",
        data_dir=str(Path(data_dir, split)),
        data_files={split: "*/*"},  # otherwise words in the path would name the split
        split=split,
        drop_labels=False,
        cache_dir=cache_dir,
    )


def _classes(folder: Path) -> list[str]:
    """Return the names of the classes in a folder, in order."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {str(folder)!r}: ImageNet is expected as train/<class>/*.JPEG and "
            "val/<class>/*.JPEG in the data folder."
        )
    return sorted(path.name for path in folder.iterdir() if path.is_dir())

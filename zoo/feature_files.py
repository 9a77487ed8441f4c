"""Speech whose features and symbols were computed elsewhere, from Parquet files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

try:
    import datasets
except ImportError as error:
    raise ImportError(
        "features in Parquet files are read with the datasets library, which is not installed: "
        "pip install 'aimc-lightning[zoo]'"
    ) from error

Collate = Callable[[list[tuple[Tensor, Tensor]]], Any]


class FeatureFiles(LightningDataModule):
    """Utterances from ``train-*``, ``validation-*`` and ``test-*.parquet`` in one folder.

    Each row is one utterance: ``features``, a list of frames of ``width`` numbers each, and
    ``symbols``, a list of whole numbers. Rows stay on disk and are read as they are needed.
    """

    def __init__(
        self,
        folder: str,
        width: int,
        collate: Collate,
        *,
        data_dir: str | None = None,
        cache_dir: str | None = None,
        batch_size: int = 64,
    ) -> None:
        """Store the settings.

        Args:
            folder: Folder of the files below ``data_dir``.
            width: Features of a frame.
            collate: Makes a batch of features ``(frames, width)`` and symbols ``(symbols,)``.
            data_dir: Folder of the data; there is no default.
            cache_dir: Folder of the copy that ``datasets`` reads from; None is its usual one.
            batch_size: Utterances in a batch.
        """
        super().__init__()
        self.folder, self.width, self.collate = folder, width, collate
        self.data_dir, self.cache_dir, self.batch_size = data_dir, cache_dir, batch_size
        self.parts: dict[str, Any] = {}

    def setup(self, stage: str) -> None:
        """Open what the stage needs, once."""
        for part in ("train", "validation") if stage in ("fit", "validate") else ("test",):
            if part not in self.parts:
                self.parts[part] = self._open(part)

    def train_dataloader(self) -> DataLoader:
        """Return the training utterances in a new order in each epoch."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Return the validation utterances."""
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader:
        """Return the test utterances."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Return the test utterances."""
        return self.test_dataloader()

    def _loader(self, part: str, shuffle: bool = False) -> DataLoader:
        return DataLoader(
            self.parts[part], self.batch_size, shuffle=shuffle, collate_fn=self._batch
        )

    def _batch(self, rows: list[dict[str, Tensor]]) -> Any:  # noqa: ANN401 - as collate makes it
        return self.collate([(row["features"].float(), row["symbols"].long()) for row in rows])

    def _open(self, part: str) -> Any:  # noqa: ANN401 - a data set of the datasets library
        place = Path(self.data_dir or ".", self.folder)
        files = [] if self.data_dir is None else sorted(place.glob(f"{part}-*.parquet"))
        if not files:
            raise FileNotFoundError(
                f"no {self.folder}/{part}-*.parquet in the data folder {str(self.data_dir)!r}: "
                "compute features and symbols yourself, the entry's card says in which form, and "
                "give the folder with --data DIR."
            )
        names = [str(file) for file in files]
        rows = datasets.load_dataset(
            "parquet", data_files=names, split="train", cache_dir=self.cache_dir
        )
        if not {"features", "symbols"} <= set(rows.column_names):
            raise ValueError(
                f"{names[0]} has the columns {', '.join(rows.column_names)}; it needs features "
                "and symbols."
            )
        rows = rows.with_format("torch")
        shape = tuple(rows[0]["features"].shape)
        if len(shape) != 2 or shape[1] != self.width:
            raise ValueError(
                f"the first utterance of {names[0]} has features of shape {shape}; "
                f"it must be (frames, {self.width})."
            )
        return rows


def cut_pieces(utterances: list[tuple[Tensor, Tensor]], frames: int) -> tuple[Tensor, Tensor]:
    """Return all utterances as pieces of equal length; what is left of each is dropped.

    Args:
        utterances: Features ``(frames, width)`` with one symbol for each frame.
        frames: Frames of a piece.

    Returns:
        Features ``(pieces, frames, width)`` and symbols ``(pieces, frames)``.

    Raises:
        ValueError: If an utterance has not one symbol for each frame.
    """
    features, symbols = [], []
    for own, labels in utterances:
        if len(own) != len(labels):
            raise ValueError(f"{len(own)} frames need as many symbols, got {len(labels)}.")
        whole = len(own) // frames
        features.append(own[: whole * frames].unflatten(0, (whole, frames)))
        symbols.append(labels[: whole * frames].unflatten(0, (whole, frames)))
    return torch.cat(features), torch.cat(symbols)

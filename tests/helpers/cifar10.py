"""A tiny CIFAR-10 or CIFAR-100 of random images, in the layout of the real one."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def write_cifar10(folder: Path, train: int, test: int, columns: Sequence[str] = ("label",)) -> Path:
    """Write ``train-*.parquet`` and ``test-*.parquet``; labels run through the classes.

    Args:
        folder: Folder to make.
        train: Training images.
        test: Test images.
        columns: Columns of labels; with two, a hundred fine classes and twenty coarse ones.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    classes = (10,) if len(columns) == 1 else (100, 20)
    for split, count in (("train", train), ("test", test)):
        pixels = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        labels = {
            column: [i % size for i in range(count)]
            for column, size in zip(columns, classes, strict=True)
        }
        images = [{"bytes": encode(image, "PNG"), "path": None} for image in pixels]
        pq.write_table(pa.table({"img": images, **labels}), folder / f"{split}-0.parquet")
    return folder


def encode(pixels: np.ndarray, kind: str) -> bytes:
    """Return the file of an image ``(height, width, 3)``, of a kind that Pillow knows."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()

"""A tiny CIFAR-10 of random images, in the layout of the real one."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn

from aimc_lightning.zoo.resnet32_cifar10.data import Cifar10Data


def write_cifar10(folder: Path, train: int, test: int) -> Path:
    """Write ``train-*.parquet`` and ``test-*.parquet``; labels run through the classes.

    Args:
        folder: Folder to make.
        train: Training images.
        test: Test images.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        pixels = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        column = [{"bytes": _png(image), "path": None} for image in pixels]
        table = pa.table({"img": column, "label": [i % 10 for i in range(count)]})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


def label_by(module: nn.Module, folder: str) -> None:
    """Replace the labels of the test images by what a classifier says of them.

    Args:
        module: Takes images normalised as the data module of resnet32_cifar10 does it.
        folder: Folder of :func:`write_cifar10`.
    """
    data = Cifar10Data(folder)
    data.setup("test")
    with torch.no_grad():
        labels = torch.cat([module(x).argmax(dim=1) for x, _ in data.test_dataloader()])
    path = next(Path(folder).glob("test-*.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "label", pa.array(labels.tolist())), path)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()

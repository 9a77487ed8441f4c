"""A tiny MNIST in ``mnist/mnist.zip``, whose images tell their class by one bright block."""

import zipfile
from pathlib import Path

import numpy as np


def write_mnist(folder: Path, train: int, test: int) -> Path:
    """Write ``folder/mnist/mnist.zip`` and return ``folder``; labels run through the classes."""
    path = folder / "mnist" / "mnist.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for prefix, count in (("train", train), ("t10k", test)):
            labels = np.arange(count, dtype=np.uint8) % 10
            images = np.zeros((count, 28, 28), np.uint8)
            for image, label in zip(images, labels, strict=True):
                row, column = divmod(int(label), 4)
                image[row * 9 : row * 9 + 6, column * 7 : column * 7 + 6] = 255
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
                archive.writestr(f"MNIST/raw/{prefix}-{kind}-ubyte", head + array.tobytes())
    return folder

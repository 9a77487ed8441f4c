"""An ImageNet of two classes and random images, in the folders of the real one."""

from pathlib import Path

import numpy as np

from tests.helpers.cifar10 import encode

CLASSES = ("n01440764", "n01443537")  # the first two of the real one


def write_imagenet(folder: Path, train: int, val: int) -> Path:
    """Write ``train/<class>/*.JPEG`` and ``val/<class>/*.JPEG``, and return ``folder``."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            path = folder / split / CLASSES[number % 2] / f"{split}_{number:08d}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(generator.integers(0, 256, (260, 300, 3), np.uint8), "JPEG"))
    return folder

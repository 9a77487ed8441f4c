"""How CPU kernels cut a tensor into blocks, and how a block crosses the border of a tile.

Inside a tile tensors are rows: ``(rows, channels)``, one row for each vector of a linear layer or
each place of an image. Outside, an image may also be planes: ``(samples, channels, places)``.
"""

from typing import NamedTuple

import numpy as np

from aimc_lightning.functional.cpu_jit import part
from aimc_lightning.functional.cpu_transpose import transpose

_ROW_BLOCK = 2048  # elements: some float32 blocks of this size fit into a first-level cache
_PLANE_BLOCK = 4096  # more, so that planes are read in longer runs


class Blocks(NamedTuple):
    """Blocks of ``run`` neighbouring rows each, or fewer where a sample ends.

    ``places`` is 1 where both sides are rows; then samples are rows. ``stride`` is the distance of
    two samples outside, in elements.

    Example:
        >>> Blocks(samples=5, channels=3, places=1, stride=3, run=2).number
        3
    """

    samples: int
    channels: int
    places: int
    stride: int
    run: int

    @property
    def number(self) -> int:
        """Number of blocks."""
        if self.places == 1:
            return -(-self.samples // self.run)
        return self.samples * -(-self.places // self.run)

    @property
    def rows(self) -> int:
        """Number of rows inside the tile."""
        return self.samples * self.places

    @property
    def elements(self) -> int:
        """Number of elements."""
        return self.rows * self.channels


def blocks_of(samples: int, channels: int, places: int, stride: int) -> Blocks:
    """Return the blocks of rows (``places`` = 1) or planes; they depend on the shape alone.

    Example:
        >>> blocks_of(128, 16, 1024, 16 * 1024).run
        256
    """
    if places == 1:
        return Blocks(samples, channels, 1, stride, max(1, _ROW_BLOCK // channels))
    run = min(places, max(16, _PLANE_BLOCK // channels))
    return Blocks(samples, channels, places, stride, run)


@part
def span(blocks: Blocks, block: int) -> tuple[int, int, int, int]:
    """Return first row and number of rows of a block, its sample, and its first place therein."""
    if blocks.places == 1:
        first = block * blocks.run
        return first, min(blocks.run, blocks.samples - first), first, 0
    runs = (blocks.places + blocks.run - 1) // blocks.run
    sample, place = block // runs, (block % runs) * blocks.run
    count = min(blocks.run, blocks.places - place)
    return sample * blocks.places + place, count, sample, place


@part
def load(outside: np.ndarray, blocks: Blocks, block: int, rows: np.ndarray) -> None:
    """Copy a block from outside of the tile into ``rows``, flat."""
    _, count, sample, place = span(blocks, block)
    channels, stride = blocks.channels, blocks.stride
    if blocks.places > 1:
        start = sample * stride + place
        transpose(outside[start:], channels, count, blocks.places, rows, channels)
    elif stride == channels:
        rows[: count * channels] = outside[sample * stride : (sample + count) * stride]
    else:
        for row in range(count):
            start = (sample + row) * stride
            rows[row * channels : (row + 1) * channels] = outside[start : start + channels]


@part
def store(rows: np.ndarray, blocks: Blocks, block: int, outside: np.ndarray) -> None:
    """Copy ``rows``, flat, to where a block stands outside of the tile."""
    _, count, sample, place = span(blocks, block)
    channels, stride = blocks.channels, blocks.stride
    if blocks.places > 1:
        start = sample * stride + place
        transpose(rows, count, channels, channels, outside[start:], blocks.places)
    elif stride == channels:
        outside[sample * stride : (sample + count) * stride] = rows[: count * channels]
    else:
        for row in range(count):
            start = (sample + row) * stride
            outside[start : start + channels] = rows[row * channels : (row + 1) * channels]


@part
def spread(vector: np.ndarray, blocks: Blocks) -> np.ndarray:
    """Return a vector over channels, or a single value, for every element of a block of rows."""
    values = np.empty(blocks.run * blocks.channels, vector.dtype)
    if vector.size == 1:
        values[:] = vector[0]
    else:
        for row in range(blocks.run):
            values[row * blocks.channels : (row + 1) * blocks.channels] = vector
    return values

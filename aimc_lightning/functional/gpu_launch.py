"""How tensors lie in memory as GPU kernels see them, and the blocks that kernels take at a time."""

import os
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aimc_lightning.functional.product import ConvProduct, Product

#: Triton's interpreter runs kernels on the CPU, slowly; the tests use it.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_MAX_ELEMENTS = 2**31 - 2**16  # kernels count in 32 bits
ELEMENTS = 1024  # that a program of a kernel takes at a time


class Lines(NamedTuple):
    """A dense tensor as a matrix: lines of vectors, outputs along them, or of planes.

    Attributes:
        lines: Number of lines.
        width: Elements of a line.
        outputs: Number of outputs, or of channels.
        last: Whether outputs lie along a line; otherwise each line is one output of one sample.
        tile_lines: Lines of one of several tiles that lie behind each other.
    """

    lines: int
    width: int
    outputs: int
    last: bool
    tile_lines: int

    def blocks(self, elements: int = ELEMENTS) -> tuple[int, int]:
        """Return lines and columns of a block of about so many elements, powers of two."""
        columns = min(power_of_two(self.width), 128)
        return max(elements // columns, 1), columns


def power_of_two(n: int) -> int:
    """Return the smallest power of two that is not below ``n``.

    Example:
        >>> power_of_two(5)
        8
    """
    return 1 << max(n - 1, 0).bit_length()


def lines_of(x: Tensor, product: Product) -> Lines:
    """Return how a tensor lies, which :func:`dense` made dense.

    Example:
        >>> lines_of(torch.zeros(2, 3, 4, 4), ConvProduct((1, 1), (0, 0), (1, 1), 1))
        Lines(lines=6, width=16, outputs=3, last=False, tile_lines=6)
    """
    if isinstance(product, ConvProduct) and x.is_contiguous():
        lines = x.shape[0] * x.shape[1]
        return Lines(lines, x.numel() // lines, x.shape[1], False, lines)
    width = x.shape[1] if isinstance(product, ConvProduct) else x.shape[-1]
    lines = x.numel() // width
    return Lines(lines, width, width, True, lines)


def dense(x: Tensor, product: Product) -> Tensor:
    """Return a tensor without gaps, vectors one after another; images may have channels last.

    Example:
        >>> dense(torch.zeros(2, 6)[:, ::2], ConvProduct((), (), (), 1)).stride()
        (3, 1)
    """
    if isinstance(product, ConvProduct) and x.movedim(1, -1).is_contiguous():
        return x
    return x.contiguous()


def like(x: Tensor, other: Tensor) -> Tensor:
    """Return a tensor of equal shape with the memory layout of another, a copy if need be.

    Example:
        >>> like(torch.zeros(2, 3).t(), torch.zeros(3, 2)).stride()
        (2, 1)
    """
    return x if x.stride() == other.stride() else torch.empty_like(other, dtype=x.dtype).copy_(x)


def is_on_gpu(x: Tensor) -> bool:
    """Return whether the kernels can read a tensor: numbers on CUDA, no subclass or trace.

    Example:
        >>> is_on_gpu(torch.ones(1))
        False
    """
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and (x.device.type == "cuda" or (INTERPRETED and x.device.type == "cpu"))
        and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and 0 < x.numel() < _MAX_ELEMENTS
        and not torch.compiler.is_compiling()
    )


def on_device_of(x: Tensor) -> Any:  # noqa: ANN401 - a context
    """Return a context in which kernels are launched where a tensor is."""
    if x.device.type != "cuda" or x.device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(x.device)


def new_seed(x: Tensor, generator: torch.Generator | None, count: int = 1) -> Tensor:
    """Return seeds, one for each call of a kernel, on the device: reading would wait for it."""
    device = x.device if generator is None else generator.device
    return torch.randint(0, 2**63 - 1, (count,), device=device, generator=generator).to(x.device)

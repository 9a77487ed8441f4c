"""Tensors as CPU kernels see them: flat arrays, and the blocks that make them rows."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aimc_lightning.functional.cpu_blocks import Blocks, blocks_of
from aimc_lightning.functional.product import ConvProduct, LinearProduct, Product


class Border(NamedTuple):
    """A tensor outside of a tile: its elements as one vector, and the blocks that make it rows.

    ``in_rows`` is false for images whose channels are planes.
    """

    flat: Tensor
    blocks: Blocks
    in_rows: bool


def border(x: Tensor, product: Product) -> Border:
    """Return how inputs, or gradients of outputs, lie in memory; a copy if strides are unusual.

    Args:
        x: ``(..., features)`` or ``(batch, channels, *space)``, float32.
        product: Tells which of the two.

    Example:
        >>> border(torch.zeros(2, 3, 4, 4), ConvProduct((1, 1), (0, 0), (1, 1), 1)).blocks.rows
        32
    """
    image = isinstance(product, ConvProduct)
    if image and (x[0].is_contiguous() or x.stride(1) != 1):
        x = x if x[0].is_contiguous() else x.contiguous()
        samples, channels, places = x.shape[0], x.shape[1], x[0, 0].numel()
        stride = channels * places if samples == 1 else x.stride(0)
        flat = _flat(x, (samples - 1) * stride + channels * places)
        return Border(flat, blocks_of(samples, channels, places, stride), False)
    rows = x.movedim(1, -1) if image else x
    rows = rows.reshape(-1, rows.shape[-1])
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    count, channels = rows.shape
    stride = channels if count == 1 else rows.stride(0)
    flat = _flat(rows, (count - 1) * stride + channels)
    return Border(flat, blocks_of(count, channels, 1, stride), True)


def _flat(x: Tensor, size: int) -> Tensor:
    return x.detach().as_strided((size,), (1,))


def dense(shape: torch.Size, product: Product, *, in_rows: bool) -> tuple[Tensor, Border]:
    """Return a new tensor of a shape, and how it lies in memory.

    Example:
        >>> y, outside = dense(torch.Size([2, 3]), LinearProduct(), in_rows=True)
        >>> y.shape, outside.blocks.rows
        (torch.Size([2, 3]), 2)
    """
    flat = torch.empty(shape.numel(), dtype=torch.float32)
    if isinstance(product, LinearProduct):
        blocks = blocks_of(flat.numel() // shape[-1], shape[-1], 1, shape[-1])
        return flat.view(shape), Border(flat, blocks, True)
    samples, channels = shape[:2]
    places = flat.numel() // (samples * channels)
    if in_rows:
        y = flat.view(samples, *shape[2:], channels).movedim(-1, 1)
        return y, Border(flat, blocks_of(samples * places, channels, 1, channels), True)
    return flat.view(shape), Border(
        flat, blocks_of(samples, channels, places, channels * places), False
    )


def is_readable(x: Tensor) -> bool:
    """Return whether kernels can read a tensor: float32 numbers on the CPU, no subclass or trace.

    Example:
        >>> is_readable(torch.ones(1)), is_readable(torch.ones(1, dtype=torch.float64))
        (True, False)
    """
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and not torch.compiler.is_compiling()
    )


def flat_array(x: Tensor | None, dtype: type = np.uint16) -> np.ndarray:
    """Return a dense tensor as a flat array over the same memory; bfloat16 as its 16 bits.

    Example:
        >>> flat_array(torch.ones(1, 2, dtype=torch.bfloat16))
        array([16256, 16256], dtype=uint16)
        >>> flat_array(None).size
        0
    """
    if x is None:
        return np.empty(0, dtype)
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).view(-1).numpy()

"""The element-wise stages of a tile's backward pass as CPU kernels; see :mod:`.cpu_kernels`."""

import numpy as np
from numba import njit

from aimc_lightning.functional.cpu_blocks import Blocks, load, span, spread
from aimc_lightning.functional.cpu_jit import kernel, part
from aimc_lightning.functional.cpu_kernels import clip
from aimc_lightning.functional.cpu_transpose import transpose

Array = np.ndarray

_F32 = np.float32
TRANSPOSED = 32  # inputs whose weights are transposed in one piece


@part
def _sum_rows(values: Array, channels: int, sums: Array) -> None:
    """Write the sum over rows, adding pairs of halves; overwrites ``values``."""
    rows = values.size // channels
    while rows > 1:
        half = (rows + 1) // 2
        upper, lower = values[half * channels : rows * channels], values[: (rows - half) * channels]
        for i in range(upper.size):
            lower[i] += upper[i]
        rows = half
    sums[:] = values[:channels]


@part
def _products(grad: Array, codes: Array, target: Array) -> None:
    for i in range(grad.size):
        target[i] = grad[i] * _F32(codes[i])


@part
def _pass_unclipped(grad: Array, codes: Array, scale: Array, limit: float, target: Array) -> None:
    limit = _F32(limit)
    for i in range(target.size):
        target[i] = (_F32(0) if abs(_F32(codes[i])) >= limit else grad[i]) * scale[i]


@kernel
def enter_backward(
    grad_y: Array,
    blocks: Blocks,
    codes: Array,
    scale: Array,
    limit: float,
    out: tuple[Array, Array],
    first: int,
    last: int,
) -> None:
    """Write the gradient of the product, and per block the sums of gradient times code.

    Args:
        grad_y: Gradient of the outputs, as these lie outside of the tile.
        blocks: Blocks of the outputs.
        codes: ADC codes in rows.
        scale: Scale per output.
        limit: Largest code; there and beyond no gradient passes.
        out: Gradient in rows; sums, shape ``(blocks, channels)``, or none.
        first: First block.
        last: First block not to be written.
    """
    size = blocks.run * blocks.channels
    loaded, multiplied = np.empty(size, np.float32), np.empty(size, np.float32)
    target, sums = out
    scales = spread(scale, blocks)
    for block in range(first, last):
        load(grad_y, blocks, block, loaded)
        row, count, _, _ = span(blocks, block)
        a, b = row * blocks.channels, (row + count) * blocks.channels
        grad, code = loaded[: b - a], codes[a:b]
        if sums.size > 0:
            _products(grad, code, multiplied)
            start = block * blocks.channels
            _sum_rows(multiplied[: b - a], blocks.channels, sums[start : start + blocks.channels])
        _pass_unclipped(grad, code, scales, limit, target[a:b])


@njit(nogil=True, fastmath={"reassoc", "nsz"})
def _range_sums(x: Array, grad: Array, inverse: float) -> tuple[float, int]:
    """Return the sum that moves the input range, and how many inputs are on or beyond it."""
    total, outside = _F32(0), 0
    for i in range(x.size):
        relative = x[i] * inverse
        beyond = abs(relative) >= _F32(1)
        change = clip(relative, _F32(1)) * (grad[i] if beyond else _F32(0))
        total += _F32(0) if change > _F32(0) else change
        outside += 1 if beyond else 0
    return total, outside


@part
def _pass_inside(x: Array, grad: Array, inverse: float, target: Array) -> None:
    for i in range(target.size):
        target[i] = _F32(0) if abs(x[i] * inverse) >= _F32(1) else grad[i]


@kernel
def leave_backward(
    x: Array,
    blocks: Blocks,
    grad_rows: Array,
    inverse_range: float,
    out: tuple[Array, Array],
    first: int,
    last: int,
) -> None:
    """Write the gradient of the inputs, and per block what the input range learns from.

    Args:
        x: Inputs as they lie outside of the tile.
        blocks: Blocks of the inputs.
        grad_rows: Gradient of the clipped inputs, in rows.
        inverse_range: Reciprocal of the input range.
        out: Gradient, dense, and per block, shape ``(blocks, 2)``, the sum of the gradients that
            widen the range and the number of inputs on or beyond it.
        first: First block.
        last: First block not to be written.
    """
    planes = np.empty(blocks.run * blocks.channels, np.float32)
    inverse = _F32(inverse_range)
    target, sums = out
    channels = blocks.channels
    for block in range(first, last):
        row, count, sample, place = span(blocks, block)
        grad = grad_rows[row * channels : (row + count) * channels]
        # Lines are pieces of a channel's plane, or rows.
        lines, length, step = count, channels, blocks.stride
        start, dense, dense_step = sample * blocks.stride, row * channels, channels
        if blocks.places > 1:
            transpose(grad, count, channels, channels, planes, count)
            grad = planes[: grad.size]
            lines, length, step = channels, count, blocks.places
            start += place
            dense, dense_step = sample * channels * blocks.places + place, step
        elif step == channels:
            lines, length = 1, count * channels
        total, outside = 0.0, 0
        for line in range(lines):
            source = x[start + line * step : start + line * step + length]
            incoming = grad[line * length : (line + 1) * length]
            begin = dense + line * dense_step
            _pass_inside(source, incoming, inverse, target[begin : begin + length])
            more, beyond = _range_sums(source, incoming, inverse)
            total += more
            outside += beyond
        sums[2 * block], sums[2 * block + 1] = total, outside


@njit(nogil=True, fastmath={"reassoc", "nsz"})
def _dot(a: Array, b: Array) -> float:
    total = _F32(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@kernel
def transpose_weights(weight: Array, columns: int, target: Array, first: int, last: int) -> None:
    """Write weights by inputs instead of outputs.

    Args:
        weight: ``(out, columns)``, flat.
        columns: Number of inputs.
        target: ``(columns, out)``, flat.
        first: First block of ``TRANSPOSED`` inputs.
        last: First block not to be written.
    """
    rows = weight.size // columns
    for start in range(first * TRANSPOSED, min(last * TRANSPOSED, columns), TRANSPOSED):
        count = min(TRANSPOSED, columns - start)
        transpose(weight[start:], rows, count, columns, target[start * rows :], rows)


@kernel
def widen_by_few(
    x: Array,
    blocks: Blocks,
    grad_rows: Array,
    columns: Array,
    numbers: tuple[float, int],
    sums: Array,
    first: int,
    last: int,
) -> None:
    """Write what the input range learns from, computed for the clipped inputs alone.

    Args:
        x: Inputs in rows, as they lie outside of the tile.
        blocks: Blocks of the inputs, each place of one row.
        grad_rows: Gradient of the product, in rows.
        columns: Weights, ``(in, out)``.
        numbers: Reciprocal of the input range, and the most clipped inputs of a block.
        sums: Per block, shape ``(blocks, 2)``, as of ``leave_backward``; the second is NaN if there
            are more clipped inputs.
        first: First block.
        last: First block not to be written.
    """
    inverse, most = _F32(numbers[0]), numbers[1]
    channels = blocks.channels
    outputs = columns.size // channels
    for block in range(first, last):
        row, count, sample, _ = span(blocks, block)
        total, outside = 0.0, 0
        for line in range(count):
            start = (sample + line) * blocks.stride
            grad = grad_rows[(row + line) * outputs : (row + line + 1) * outputs]
            for i in range(channels):
                relative = x[start + i] * inverse
                if abs(relative) >= _F32(1):
                    outside += 1
                    if outside <= most:
                        incoming = _dot(grad, columns[i * outputs : (i + 1) * outputs])
                        total += min(clip(relative, _F32(1)) * incoming, _F32(0))
        sums[2 * block], sums[2 * block + 1] = total, (outside if outside <= most else np.nan)

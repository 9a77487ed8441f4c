"""Kernels that make 8-bit integers of weights and of inputs; see :mod:`.integer_weights`."""

from typing import NamedTuple

import numpy as np
from numba import njit

from aimc_lightning.functional.cpu_blocks import Blocks, load, span
from aimc_lightning.functional.cpu_jit import kernel, part
from aimc_lightning.functional.cpu_kernels import InputNumbers, convert
from aimc_lightning.functional.cpu_normals import bits_to_float, float_to_bits
from aimc_lightning.functional.integer_weights import LARGEST, LOW_STEPS, SQUARE_STEP

Array = np.ndarray
_F32, _I32, _U32 = np.float32, np.int32, np.uint32


class IntegerArrays(NamedTuple):
    """Those of :class:`.integer_weights.IntegerWeights`, flat."""

    high: Array
    low: Array
    unit: Array
    magnitude: Array
    positioned: Array


class IntegerInputs(NamedTuple):
    """What the DAC writes: codes, their magnitudes and squares, and 1 for each row with a NaN."""

    codes: Array
    magnitude: Array
    squares: Array
    flawed: Array


@part
def _largest(values: Array) -> float:
    """Return the largest magnitude; NaN if there is one, as its bits are the largest of all."""
    most = _U32(0)
    for i in range(values.size):
        most = max(most, _U32(float_to_bits(values[i]) & _U32(0x7FFFFFFF)))
    return bits_to_float(most)


@part
def _split(values: Array, inverse: float, high: Array, low: Array) -> None:
    for i in range(high.size):
        steps = _I32(np.rint(values[i] * inverse))
        above = _I32(steps + _I32(LOW_STEPS // 2)) >> _I32(8)
        high[i] = above
        low[i] = steps - _I32(above * _I32(LOW_STEPS))


@part
def _magnitudes(values: Array, inverse: float, target: Array) -> None:
    for i in range(target.size):
        target[i] = _I32(np.rint(abs(values[i]) * inverse))


@part
def _positioned(values: Array, position: Array, inverse: float, target: Array) -> None:
    for i in range(target.size):
        target[i] = _I32(np.rint(values[i] * position[i] * inverse))


@part
def quantize_row(values: Array, position: Array, row: int, out: IntegerArrays) -> None:
    """Write the weights of one output as integers.

    Args:
        values: Weights, float32.
        position: Position weights of the IR drop, one per input.
        row: Which output.
        out: Of all outputs.
    """
    a, b = row * values.size, (row + 1) * values.size
    step = _largest(values) * _F32(1 / LARGEST)
    inverse = _F32(0) if step == _F32(0) else _F32(1) / step
    out.unit[row] = step * _F32(LOW_STEPS)
    coarse = inverse * _F32(1 / LOW_STEPS)
    _split(values, inverse, out.high[a:b], out.low[a:b])
    if out.magnitude.size > 0:
        _magnitudes(values, coarse, out.magnitude[a:b])
    if out.positioned.size > 0:
        _positioned(values, position, coarse, out.positioned[a:b])


@kernel
def quantize_rows(
    weight: Array, position: Array, out: IntegerArrays, first: int, last: int
) -> None:
    """Write rows ``first`` to ``last - 1`` of dense weights as integers."""
    n = position.size
    for row in range(first, last):
        quantize_row(weight[row * n : (row + 1) * n], position, row, out)


@part
def _store(values: Array, target: Array) -> None:
    for i in range(target.size):
        target[i] = _I32(values[i])


@part
def _store_magnitudes(values: Array, target: Array) -> None:
    for i in range(target.size):
        target[i] = _I32(abs(values[i]))


@part
def _store_squares(values: Array, target: Array) -> None:
    for i in range(target.size):
        target[i] = _I32(np.rint(values[i] * values[i] * _F32(1 / SQUARE_STEP)))


@njit(nogil=True, fastmath={"reassoc", "nsz"})
def _has_nan(values: Array) -> bool:
    total = _F32(0)
    for i in range(values.size):
        total += values[i]  # codes are bounded, so only a NaN makes one
    return np.isnan(total)


@kernel
def convert_integer_inputs(
    x: Array, blocks: Blocks, numbers: InputNumbers, out: IntegerInputs, first: int, last: int
) -> None:
    """Write the DAC codes of blocks ``first`` to ``last - 1`` as integers.

    Args:
        x: Inputs in rows as they lie outside of the tile, float32.
        blocks: Blocks of the inputs, each place of one row.
        numbers: Numbers of the DAC.
        out: Arrays of the size of the inputs.
        first: First block.
        last: First block not to be written.
    """
    size, channels = blocks.run * blocks.channels, blocks.channels
    scratch, codes = np.empty(size, np.float32), np.empty(size, np.float32)
    for block in range(first, last):
        load(x, blocks, block, scratch)
        row, count, _, _ = span(blocks, block)
        a, b = row * channels, (row + count) * channels
        convert(scratch, numbers, codes[: b - a])
        for line in range(count):
            values = codes[line * channels : (line + 1) * channels]
            out.flawed[row + line] = 1 if _has_nan(values) else 0
        _store(codes, out.codes[a:b])
        _store_magnitudes(codes, out.magnitude[a:b])
        _store_squares(codes, out.squares[a:b])

"""Kernels that make 8-bit integers of weights and of inputs; see :mod:`.integer_weights`."""

from typing import NamedTuple

import numpy as np
from numba import njit

from aimc_lightning.functional.cpu_blocks import Blocks, load, span
from aimc_lightning.functional.cpu_jit import kernel, part, scalar
from aimc_lightning.functional.cpu_kernels import InputNumbers, convert
from aimc_lightning.functional.cpu_normals import bits_to_float, float_to_bits
from aimc_lightning.functional.integer_weights import LARGEST, LOW_STEPS, SQUARE_STEP

Array = np.ndarray
_F32, _I32, _U32 = np.float32, np.int32, np.uint32
GRADIENT_ROWS = 32  # that a thread takes at a time


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


@scalar
def _magnitude_bits(value: float) -> int:
    return _U32(float_to_bits(value) & _U32(0x7FFFFFFF))


@scalar
def _parts(steps: float) -> tuple[int, int]:
    """Return the high and the low part of a whole number of steps."""
    whole = _I32(steps)
    above = _I32(whole + _I32(LOW_STEPS // 2)) >> _I32(8)
    return above, _I32(whole - _I32(above * _I32(LOW_STEPS)))


@part
def _largest(values: Array) -> float:
    """Return the largest magnitude; NaN if there is one, as its bits are the largest of all."""
    most = _U32(0)
    for i in range(values.size):
        most = max(most, _magnitude_bits(values[i]))
    return bits_to_float(most)


@part
def _split(values: Array, inverse: float, high: Array, low: Array) -> None:
    for i in range(high.size):
        high[i], low[i] = _parts(np.rint(values[i] * inverse))


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


@kernel
def largest_of_columns(values: Array, columns: int, out: Array, first: int, last: int) -> None:
    """Write the largest magnitude of each column in blocks ``first`` to ``last - 1`` of rows.

    Args:
        values: ``(rows, columns)``, flat, float32.
        columns: Number of columns.
        out: Bits of the magnitudes, ``(blocks, columns)``, uint32; those of a NaN are largest.
        first: First block of ``GRADIENT_ROWS`` rows.
        last: First block not to be written.
    """
    rows = values.size // columns
    for block in range(first, last):
        most = out[block * columns : (block + 1) * columns]
        most[:] = 0
        for row in range(block * GRADIENT_ROWS, min((block + 1) * GRADIENT_ROWS, rows)):
            line = values[row * columns : (row + 1) * columns]
            for i in range(columns):
                most[i] = max(most[i], _magnitude_bits(line[i]))


@part
def _split_by_columns(values: Array, inverse: Array, high: Array, low: Array) -> None:
    for i in range(high.size):
        high[i], low[i] = _parts(np.rint(values[i] * inverse[i]))


@kernel
def split_gradient(
    values: Array, inverse: Array, parts: tuple[Array, Array], first: int, last: int
) -> None:
    """Write numbers as high and low parts, as those of weights.

    Args:
        values: ``(rows, columns)``, flat, float32.
        inverse: Steps per unit in each column.
        parts: Shaped as ``values``, flat, int8.
        first: First block of ``GRADIENT_ROWS`` rows.
        last: First block not to be written.
    """
    columns = inverse.size
    rows = values.size // columns
    for row in range(first * GRADIENT_ROWS, min(last * GRADIENT_ROWS, rows)):
        a, b = row * columns, (row + 1) * columns
        _split_by_columns(values[a:b], inverse, parts[0][a:b], parts[1][a:b])


@part
def _join(high: Array, low: Array, step: float, target: Array) -> None:
    for i in range(target.size):
        target[i] = (_F32(high[i]) * _F32(LOW_STEPS) + _F32(low[i])) * step


@kernel
def join_sums(sums: tuple[Array, Array], step: Array, out: Array, first: int, last: int) -> None:
    """Write what sums of high and low parts stand for, rows ``first`` to ``last - 1``.

    Args:
        sums: ``(rows, columns)`` each, flat, int32.
        step: Size of a step in each row.
        out: float32.
        first: First row.
        last: First row not to be written.
    """
    columns = out.size // step.size
    for row in range(first, last):
        a, b = row * columns, (row + 1) * columns
        _join(sums[0][a:b], sums[1][a:b], step[row], out[a:b])

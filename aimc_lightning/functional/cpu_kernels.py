"""The element-wise stages of one tile as CPU kernels that read and write each tensor once.

The chain is defined in :mod:`.crossbar` and :mod:`.mvm`; here stands the same arithmetic in the
same order, block by block. All arrays are flat; one of size 0 stands for an effect that is off.
"""

from typing import NamedTuple

import numpy as np

from aimc_lightning.functional.cpu_blocks import Blocks, load, span, spread, store
from aimc_lightning.functional.cpu_jit import kernel, part, scalar
from aimc_lightning.functional.cpu_normals import fill_normals, padded
from aimc_lightning.functional.cpu_numbers import narrow, narrow_magnitude, narrow_square, to_float
from aimc_lightning.functional.integer_weights import LOW_STEPS

Array = np.ndarray

_F32 = np.float32


class InputNumbers(NamedTuple):
    """Of the DAC: reciprocal of the input range, and half the number of steps."""

    inverse_range: float
    half_steps: float


class InputArrays(NamedTuple):
    """What the DAC writes: codes in float32, as small integers and in bfloat16 (as 16 bits)."""

    codes: Array
    saved: Array
    coarse: Array
    magnitude: Array
    squares: Array


class OutputNumbers(NamedTuple):
    """Factors between product and codes, and the key of the random numbers."""

    step: float
    current_factor: float
    ir_drop_scale: float
    read_variance: float
    levels: float
    code_limit: float
    k0: int
    k1: int


class ProductArrays(NamedTuple):
    """The product z in float32, and in bfloat16 the three of IR drop and read noise.

    Or all as sums of integers in int32. Then z is that with the high parts of the weights, ``low``
    that with their low parts, and ``flawed`` is 1 for each row that a NaN came from.
    """

    z: Array
    current: Array
    weighted: Array
    squares: Array
    low: Array
    flawed: Array


class OutputVectors(NamedTuple):
    """Per output, of size 1 if it is the same: scale, variance of the output noise, and unit.

    ``scale`` is the digital scale, ``unit`` the size of one step of the products.
    """

    scale: Array
    variance: Array
    unit: Array


class OutputArrays(NamedTuple):
    """What the ADC writes: outputs in digital units, codes as small integers."""

    y: Array
    codes: Array


@scalar
def clip(value: float, limit: float) -> float:
    """Return a number within +-limit; NaN stays NaN, as in torch."""
    value = -limit if value < -limit else value
    return limit if value > limit else value


@part
def convert(levels: Array, numbers: InputNumbers, codes: Array) -> None:
    """Write the DAC codes of inputs, in float32."""
    inverse, half = _F32(numbers.inverse_range), _F32(numbers.half_steps)
    for i in range(codes.size):
        codes[i] = clip(np.rint(clip(levels[i] * inverse, _F32(1)) * half), half)


@part
def _copy(values: Array, target: Array) -> None:
    for i in range(target.size):
        target[i] = values[i]


@kernel
def convert_inputs(
    x: Array, blocks: Blocks, numbers: InputNumbers, out: InputArrays, first: int, last: int
) -> None:
    """Write the DAC codes of blocks ``first`` to ``last - 1``, in rows.

    Args:
        x: Inputs as they lie outside of the tile, float32.
        blocks: Blocks of the inputs.
        numbers: Numbers of the DAC.
        out: Arrays of the size of the inputs.
        first: First block.
        last: First block not to be written.
    """
    scratch = np.empty(blocks.run * blocks.channels, np.float32)
    for block in range(first, last):
        load(x, blocks, block, scratch)
        row, count, _, _ = span(blocks, block)
        a, b = row * blocks.channels, (row + count) * blocks.channels
        codes = out.codes[a:b]
        convert(scratch, numbers, codes)
        _copy(codes, out.saved[a:b])
        narrow(codes, out.coarse[a:b])
        narrow_magnitude(codes, out.magnitude[a:b])
        narrow_square(codes, out.squares[a:b])


@part
def _multiply(values: Array, factor: float, target: Array) -> None:
    factor = _F32(factor)
    for i in range(target.size):
        target[i] = values[i] * factor


@part
def _add_up(high: Array, low: Array, unit: Array, factor: float, target: Array) -> None:
    factor = _F32(factor)
    for i in range(target.size):
        sum_of_parts = to_float(low[i]) * _F32(1 / LOW_STEPS) + to_float(high[i])
        target[i] = sum_of_parts * unit[i] * factor


@part
def _spoil_flawed(z: Array, flawed: Array, outputs: int) -> None:
    for row in range(flawed.size):
        if flawed[row] != 0:
            z[row * outputs : (row + 1) * outputs] = np.nan


@part
def _subtract_ir_drop(
    z: Array, current: Array, weighted: Array, unit: Array, factor: float, scale: float
) -> None:
    factor, scale = _F32(factor), _F32(-scale)
    for i in range(current.size):
        a = to_float(current[i]) * unit[i] * factor
        coefficient = ((a * _F32(0.05) - _F32(0.2)) * a + _F32(0.5)) * a
        z[i] += scale * coefficient * (to_float(weighted[i]) * unit[i])


@part
def _add_noise(z: Array, noise: Array, variance: Array) -> None:
    for i in range(z.size):
        z[i] += np.sqrt(variance[i]) * noise[i]


@part
def _add_noise_and_read_noise(
    z: Array, noise: Array, variance: Array, squares: Array, unit: Array, factor: float
) -> None:
    factor = _F32(factor)
    for i in range(z.size):
        z[i] += np.sqrt(to_float(squares[i]) * unit[i] * factor + variance[i]) * noise[i]


@part
def _adc(z: Array, numbers: OutputNumbers) -> None:
    levels, limit = _F32(numbers.levels), _F32(numbers.code_limit)
    for i in range(z.size):
        z[i] = clip(np.rint(z[i] * levels), limit)


@part
def _scale(values: Array, scale: Array) -> None:
    for i in range(values.size):
        values[i] *= scale[i]


@kernel
def convert_outputs(
    products: ProductArrays,
    blocks: Blocks,
    numbers: OutputNumbers,
    vectors: OutputVectors,
    out: OutputArrays,
    first: int,
    last: int,
) -> None:
    """Write outputs and ADC codes of blocks ``first`` to ``last - 1``.

    Args:
        products: In rows.
        blocks: Blocks of the outputs.
        numbers: Factors of the stages.
        vectors: Per output.
        out: ``y`` as outputs lie outside of the tile; ``codes`` in rows.
        first: First block.
        last: First block not to be written.
    """
    size = blocks.run * blocks.channels
    values, normals = np.empty(size, np.float32), np.empty(padded(size), np.float32)
    scales, units = spread(vectors.scale, blocks), spread(vectors.unit, blocks)
    variances = vectors.variance
    if variances.size > 0:
        variances = spread(variances, blocks)
    for block in range(first, last):
        row, count, _, _ = span(blocks, block)
        a, b = row * blocks.channels, (row + count) * blocks.channels
        z, variance = values[: b - a], variances[: b - a]
        if products.low.size > 0:
            _add_up(products.z[a:b], products.low[a:b], units, numbers.step, z)
            _spoil_flawed(z, products.flawed[row : row + count], blocks.channels)
        else:
            _multiply(products.z[a:b], numbers.step, z)
        _subtract_ir_drop(
            z, products.current[a:b], products.weighted[a:b], units,
            numbers.current_factor, numbers.ir_drop_scale,
        )  # fmt: skip
        if variance.size > 0:
            fill_normals(normals, block, numbers.k0, numbers.k1)
            noise = normals[: b - a]
            if products.squares.size > 0:
                squares = products.squares[a:b]
                _add_noise_and_read_noise(z, noise, variance, squares, units, numbers.read_variance)
            else:
                _add_noise(z, noise, variance)
        _adc(z, numbers)
        _copy(z, out.codes[a:b])
        _scale(z, scales)
        store(z, blocks, block, out.y)


@kernel
def output_normals(blocks: Blocks, count: int, k0: int, k1: int, out: Array) -> None:
    """Write, in rows, the random numbers that :func:`convert_outputs` draws in its blocks."""
    normals = np.empty(padded(blocks.run * blocks.channels), np.float32)
    for block in range(count):
        row, rows, _, _ = span(blocks, block)
        fill_normals(normals, block, k0, k1)
        size = rows * blocks.channels
        out[row * blocks.channels : row * blocks.channels + size] = normals[:size]

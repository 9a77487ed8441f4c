"""The weights of one forward pass as a CPU kernel: normalised, with training noise, in one pass.

Defined by :func:`.noise.noisy_weight` and :func:`.crossbar.crossbar_weights`; here stands the same
arithmetic row by row. One output is one row; an array of size 0 stands for what is not needed.
"""

from typing import NamedTuple

import numpy as np

from aimc_lightning.functional.cpu_integers import IntegerArrays, quantize_row
from aimc_lightning.functional.cpu_jit import kernel, part
from aimc_lightning.functional.cpu_normals import fill_normals, padded
from aimc_lightning.functional.cpu_numbers import narrow_magnitude, to_bf16

Array = np.ndarray
_F32 = np.float32

#: How the noise acts: not at all; added to the weight; added to its magnitude and reflected at
#: zero; the same, but a weight of zero stays zero.
NONE, ADDED, REFLECTED, KEEPS_ZERO = range(4)


class NoiseNumbers(NamedTuple):
    """Law of the noise: ``scale (c0 + c1 r + c2 r**2)`` with ``r = |w| / w_max``, and the key."""

    mode: int
    w_max: float
    scale: float
    c0: float
    c1: float
    c2: float
    k0: int
    k1: int


class WeightArrays(NamedTuple):
    """What is written: the weights, their magnitude and their drop's weights in bfloat16, integers.

    Integers take the place of the two in bfloat16.
    """

    weight: Array
    magnitude: Array
    positioned: Array
    integers: IntegerArrays


@part
def _normalize(weight: Array, scale: float, out: Array) -> None:
    scale = _F32(scale)
    for i in range(out.size):
        out[i] = weight[i] / scale


@part
def _add(w: Array, noise: Array, numbers: NoiseNumbers) -> None:
    inverse, scale = _F32(1 / numbers.w_max), _F32(numbers.scale)
    c0, c1, c2 = _F32(numbers.c0), _F32(numbers.c1), _F32(numbers.c2)
    for i in range(w.size):
        r = abs(w[i]) * inverse
        w[i] += ((c2 * r + c1) * r + c0) * scale * noise[i]


@part
def _add_and_reflect(w: Array, noise: Array, numbers: NoiseNumbers) -> None:
    inverse, w_max, scale = _F32(1 / numbers.w_max), _F32(numbers.w_max), _F32(numbers.scale)
    c0, c1, c2 = _F32(numbers.c0), _F32(numbers.c1), _F32(numbers.c2)
    for i in range(w.size):
        r = min(abs(w[i]) * inverse, _F32(1))
        noisy = abs(r + ((c2 * r + c1) * r + c0) * scale * noise[i]) * w_max
        w[i] = -noisy if w[i] < 0 else noisy


@part
def _restore_zeros(weight: Array, w: Array) -> None:
    for i in range(w.size):
        w[i] = _F32(0) if weight[i] == 0 else w[i]


@part
def _narrow_positioned(w: Array, position: Array, target: Array) -> None:
    for i in range(target.size):
        target[i] = to_bf16(w[i] * position[i])


@kernel
def prepare_rows(
    weight: Array,
    stride: int,
    scale: Array,
    position: Array,
    numbers: NoiseNumbers,
    out: WeightArrays,
    first: int,
    last: int,
) -> None:
    """Write rows ``first`` to ``last - 1`` of the weights of a tile.

    Args:
        weight: Logical weights, float32; row i starts at ``i * stride``.
        stride: Numbers from one row to the next.
        scale: Mapping scale per output.
        position: Position weights of the IR drop, one per input.
        numbers: Law of the noise.
        out: Rows without gaps.
        first: First row.
        last: First row not to be written.
    """
    n = position.size
    noise = np.empty(padded(n), np.float32)
    for row in range(first, last):
        logical = weight[row * stride : row * stride + n]
        w = out.weight[row * n : (row + 1) * n]
        _normalize(logical, scale[row], w)
        if numbers.mode != NONE:
            fill_normals(noise, row, numbers.k0, numbers.k1)
            if numbers.mode == ADDED:
                _add(w, noise, numbers)
            else:
                _add_and_reflect(w, noise, numbers)
                if numbers.mode == KEEPS_ZERO:
                    _restore_zeros(logical, w)
        if out.integers.unit.size > 0:
            quantize_row(w, position, row, out.integers)
        if out.magnitude.size > 0:
            narrow_magnitude(w, out.magnitude[row * n : (row + 1) * n])
        if out.positioned.size > 0:
            _narrow_positioned(w, position, out.positioned[row * n : (row + 1) * n])


@kernel
def row_normals(count: int, n: int, k0: int, k1: int, out: Array) -> None:
    """Write the random numbers that :func:`prepare_rows` draws for ``count`` rows of ``n``."""
    noise = np.empty(padded(n), np.float32)
    for row in range(count):
        fill_normals(noise, row, k0, k1)
        out[row * n : (row + 1) * n] = noise[:n]

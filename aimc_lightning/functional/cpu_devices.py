"""Weights as pairs of freshly programmed and aged PCM devices hold them, in one CPU kernel.

Defined by :class:`aimc_lightning.devices.pcm.PCMDevice`; here stands the same arithmetic, in units
of the largest conductance. Each weight has two devices: one carries it, the other stands at zero.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from aimc_lightning.functional.cpu_jit import kernel, part, scalar
from aimc_lightning.functional.cpu_normals import bits_to_float, fill_normals, logarithm, padded

Array = np.ndarray
_F32, _I32, _U32 = np.float32, np.int32, np.uint32
_LOG_FLOOR = np.log(1e-7)  # of the logarithm of a target, as in clipped_logarithm
_DRAWS = 6  # per weight: programming noise, drift exponent and read noise of two devices


class DeviceNumbers(NamedTuple):
    """Largest weight, the laws of the device, ``ln(t / t_0)``, and the key of the numbers.

    ``programming`` is a polynomial of the target. ``exponent`` and ``spread`` are slope and offset
    over its logarithm, minimum and maximum, of the mean exponent and of its deviation; scales on
    both are ``exponent_scale`` and ``spread_scale``. ``strength`` of the 1/f noise is factor
    (grown to the time), exponent and maximum (grown likewise) of ``c g**-p`` over the programmed g.
    """

    w_max: float
    programming: tuple[float, ...]
    exponent: tuple[float, ...]
    spread: tuple[float, ...]
    strength: tuple[float, ...]
    exponent_scale: float
    spread_scale: float
    log_time: float
    k0: int
    k1: int


@scalar
def _exp(x: float) -> float:
    """Return the exponential of a number from -80 to 80; polynomial of Cephes (``expf.c``)."""
    y = max(x, _F32(-80)) * _F32(1.4426950408889634)
    whole = np.rint(y)
    f = (y - whole) * _F32(0.6931471805599453)
    p = _F32(1.3981999507e-3) + f * _F32(1.9875691500e-4)
    p = _F32(4.1665795894e-2) + f * (_F32(8.3334519073e-3) + f * p)
    p = _F32(5.0000001201e-1) + f * (_F32(1.6666665459e-1) + f * p)
    p = p * f * f + f + _F32(1)
    return p * bits_to_float(_U32(_U32(_I32(whole) + _I32(127)) << _U32(23)))


@scalar
def _clipped(logarithm_of: float, law: tuple[float, ...]) -> float:
    value = _F32(law[0]) * logarithm_of + _F32(law[1])
    return min(max(value, _F32(law[2])), _F32(law[3]))


@scalar
def _strength(g: float, law: tuple[float, ...]) -> float:
    return min(_F32(law[0]) * _exp(_F32(-law[1]) * logarithm(g)), _F32(law[2]))


@part
def _program(
    weight: Array, noise: Array, numbers: DeviceNumbers, devices: tuple[Array, Array]
) -> None:
    """Write what programming reaches in both devices."""
    inverse = _F32(1 / numbers.w_max)
    c0, c1, c2 = numbers.programming
    c0, c1, c2 = _F32(c0), _F32(c1), _F32(c2)
    n = weight.size
    first, second = noise[:n], noise[n : 2 * n]
    carrier, partner = devices
    for i in range(n):
        target = min(abs(weight[i]) * inverse, _F32(1))
        carrier[i] = max(target + ((c2 * target + c1) * target + c0) * first[i], _F32(0))
        partner[i] = max(c0 * second[i], _F32(0))


@part
def _age(g: Array, target: Array, noise: Array, numbers: DeviceNumbers, out: Array) -> None:
    """Write what devices that were programmed for a target hold after the time."""
    n = g.size
    first, second = noise[:n], noise[n : 2 * n]
    inverse, time = _F32(1 / numbers.w_max), _F32(-numbers.log_time)
    scale, spread_scale = _F32(numbers.exponent_scale), _F32(numbers.spread_scale)
    for i in range(n):
        log_target = max(logarithm(min(abs(target[i]) * inverse, _F32(1))), _F32(_LOG_FLOOR))
        spread = _clipped(log_target, numbers.spread) * spread_scale
        nu = abs(_clipped(log_target, numbers.exponent) + spread * first[i]) * scale
        read = max(_F32(1) + _strength(g[i], numbers.strength) * second[i], _F32(0))
        out[i] = g[i] * _exp(time * nu) * read


@part
def _join(weight: Array, carrier: Array, partner: Array, w_max: float, out: Array) -> None:
    w_max = _F32(w_max)
    for i in range(out.size):
        value = (carrier[i] - partner[i]) * w_max
        out[i] = -value if weight[i] < 0 else value


@njit(nogil=True, fastmath={"reassoc", "nsz"})
def _sum_of_magnitudes(values: Array) -> float:
    total = _F32(0)
    for i in range(values.size):
        total += abs(values[i])
    return total


@kernel
def hold_rows(
    weight: Array,
    n: int,
    numbers: DeviceNumbers,
    out: tuple[Array, Array],
    first: int,
    last: int,
) -> None:
    """Write rows ``first`` to ``last - 1`` of weights as devices hold them after the time.

    Args:
        weight: Normalised weights, ``(rows, n)``, flat, float32.
        n: Weights of a row.
        numbers: Of the device and the time.
        out: Aged weights, shaped as ``weight``, and for each row the sums of the magnitudes of
            programmed and of aged weights, ``(rows, 2)``; all flat.
        first: First row.
        last: First row not to be written.
    """
    noise, zero = np.empty(padded(_DRAWS * n), np.float32), np.zeros(n, np.float32)
    carrier, partner = np.empty(n, np.float32), np.empty(n, np.float32)
    old_carrier, old_partner = np.empty(n, np.float32), np.empty(n, np.float32)
    programmed = np.empty(n, np.float32)
    aged, sums = out
    for row in range(first, last):
        w, target = weight[row * n : (row + 1) * n], aged[row * n : (row + 1) * n]
        fill_normals(noise, row, numbers.k0, numbers.k1)
        _program(w, noise, numbers, (carrier, partner))
        _age(carrier, w, noise[2 * n :], numbers, old_carrier)
        _age(partner, zero, noise[4 * n :], numbers, old_partner)
        _join(w, carrier, partner, numbers.w_max, programmed)
        _join(w, old_carrier, old_partner, numbers.w_max, target)
        sums[2 * row] = _sum_of_magnitudes(programmed)
        sums[2 * row + 1] = _sum_of_magnitudes(target)

"""Standard normal random numbers inside CPU kernels: Philox 4x32-10 and Box-Muller in float32.

A number depends on the key, the block and its place in the block, never on threads. The
polynomials are weighted minimax fits made for this file; their relative error is below 1e-8, less
than that of float32 itself.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from aimc_lightning.functional.cpu_jit import kernel, part, run_in_threads, scalar

_U32, _I32, _U64, _F32 = np.uint32, np.int32, np.uint64, np.float32

# Multipliers and key increments of Philox 4x32: Salmon et al., "Parallel random numbers: as easy as
# 1, 2, 3", SC 2011, table 2 and section 4; 10 rounds as in cuRAND and torch on CUDA.
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)

_SQRT_HALF_BITS = np.uint32(0x3F3504F3)  # float32 of sqrt(1/2)
_LN_2 = np.float32(0.6931471805599453)
_BLOCK = 1 << 12  # numbers; a multiple of 64
_QUARTER_TURN = np.float32(np.pi / 4 * 2.0**-31)  # a signed 32-bit number to (-pi/4, pi/4)


@intrinsic
def float_to_bits(typing_context: Any, x: Any) -> Any:  # noqa: ANN401 - numba's protocol
    """Return the 32 bits of a float32 as uint32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic
def bits_to_float(typing_context: Any, x: Any) -> Any:  # noqa: ANN401 - numba's protocol
    """Return the float32 with the given 32 bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), generate


@scalar
def _philox_round(c0: int, c1: int, c2: int, c3: int, k0: int, k1: int) -> tuple[int, ...]:
    p0, p1 = _M0 * _U64(c0), _M1 * _U64(c2)
    high0, high1 = _U32(p0 >> _U64(32)), _U32(p1 >> _U64(32))
    return _U32(high1 ^ c1 ^ k0), _U32(p1), _U32(high0 ^ c3 ^ k1), _U32(p0)


@scalar
def _two_rounds(c: tuple[int, ...], k0: int, k1: int, index: int) -> tuple[int, ...]:
    even, odd = _U64(index), _U64(index + 1)
    c = _philox_round(c[0], c[1], c[2], c[3], _U32(k0 + _W0 * even), _U32(k1 + _W1 * even))
    return _philox_round(c[0], c[1], c[2], c[3], _U32(k0 + _W0 * odd), _U32(k1 + _W1 * odd))


@scalar
def philox(c0: int, c1: int, c2: int, k0: int, k1: int) -> tuple[int, ...]:
    """Return four random 32-bit words for a counter of three words (the fourth is 0) and a key."""
    # Written out, since LLVM does not make vector code of a loop over rounds.
    c = (_U32(c0), _U32(c1), _U32(c2), _U32(0))
    c = _two_rounds(c, k0, k1, 0)
    c = _two_rounds(c, k0, k1, 2)
    c = _two_rounds(c, k0, k1, 4)
    c = _two_rounds(c, k0, k1, 6)
    return _two_rounds(c, k0, k1, 8)


@scalar
def logarithm(x: float) -> float:
    """Return the natural logarithm of a positive number; of 0 it is -88."""
    shifted = _U32(float_to_bits(x) - _SQRT_HALF_BITS)
    exponent = _F32(_I32(shifted) >> _I32(23))
    mantissa = _U32((shifted & _U32(0x007FFFFF)) + _SQRT_HALF_BITS)
    f = bits_to_float(mantissa) - _F32(1)  # sqrt(1/2) - 1 to sqrt(2) - 1
    p = _F32(0.12761549651622772) + f * _F32(-0.07634429633617401)
    p = _F32(0.14201761782169342) + f * (_F32(-0.131601944565773) + f * p)
    p = _F32(0.20001226663589478) + f * (_F32(-0.16623356938362122) + f * p)
    p = _F32(0.3333333134651184) + f * (_F32(-0.250008225440979) + f * p)
    ff = f * f
    return (p * f * ff - _F32(0.5) * ff + f) + exponent * _LN_2


@scalar
def _radius(word: int) -> float:
    """Return ``sqrt(-2 ln u)`` for ``u = (word + 1/2) / 2**32``: at most 6.8."""
    return np.sqrt(_F32(-2) * logarithm((_F32(word) + _F32(0.5)) * _F32(2.0**-32)))


@scalar
def _direction(word: int) -> tuple[float, float]:
    """Return cosine and sine of ``2 pi word / 2**32``, up to an exchange of octants."""
    t = _F32(_I32(_U32(word << _U32(2)))) * _QUARTER_TURN
    tt = t * t
    p = _F32(0.008332177996635437) + tt * _F32(-0.00019517297914717346)
    sine = t + t * tt * (_F32(-0.16666655242443085) + tt * p)
    p = _F32(-0.001388736767694354) + tt * _F32(2.443845005473122e-05)
    cosine = _F32(1) - _F32(0.5) * tt + tt * tt * (_F32(0.04166664555668831) + tt * p)
    # The two highest bits, not used so far, choose the quarter of the circle.
    exchange = (word & _U32(0x80000000)) != 0
    first, second = (sine, cosine) if exchange else (cosine, sine)
    sign = _U32((word << _U32(1)) & _U32(0x80000000))
    return (
        bits_to_float(_U32(float_to_bits(first) ^ sign)),
        bits_to_float(_U32(float_to_bits(second) ^ sign)),
    )


@part
def padded(count: int) -> int:
    """Return the size of a buffer for ``count`` numbers: whole vectors of four counters' words."""
    return (count + 63) // 64 * 64


@part
def fill_normals(out: np.ndarray, block: int, k0: int, k1: int) -> None:
    """Fill a scratch buffer with independent standard normals.

    Args:
        out: float32, shape ``(4 n,)``; every number depends on n.
        block: Index of the block, below 2**63; different blocks are independent.
        k0: Lower half of the key.
        k1: Upper half of the key.
    """
    n = out.size // 4
    low, high = _U32(block), _U32(_U64(block) >> _U64(32))
    k0, k1 = _U32(k0), _U32(k1)
    a, b, c, d = out[:n], out[n : 2 * n], out[2 * n : 3 * n], out[3 * n :]
    for j in range(n):
        w0, w1, w2, w3 = philox(_U32(j), low, high, k0, k1)
        radius, (x, y) = _radius(w0), _direction(w1)
        a[j] = radius * x
        b[j] = radius * y
        radius, (x, y) = _radius(w2), _direction(w3)
        c[j] = radius * x
        d[j] = radius * y


@kernel
def _fill_blocks(out: np.ndarray, k0: int, k1: int, first: int, last: int) -> None:
    for block in range(first, last):
        target = out[block * _BLOCK : (block + 1) * _BLOCK]
        if target.size == _BLOCK:
            fill_normals(target, block, k0, k1)
        else:
            scratch = np.empty(_BLOCK, np.float32)
            fill_normals(scratch, block, k0, k1)
            target[:] = scratch[: target.size]


def draw_normals(out: np.ndarray, seed: int) -> None:
    """Fill an array with independent standard normals; several threads, always the same numbers.

    Args:
        out: float32, flat.
        seed: Key of the numbers, 0 to 2**64 - 1.

    Example:
        >>> draw_normals(out := np.zeros(5, np.float32), seed=1)
        >>> bool((out != 0).all())
        True
    """
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    blocks = -(-out.size // _BLOCK)
    run_in_threads(lambda first, last: _fill_blocks(out, k0, k1, first, last), blocks, out.size)

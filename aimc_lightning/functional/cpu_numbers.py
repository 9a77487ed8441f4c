"""Numbers in bfloat16 (as 16 bits) and as integers inside CPU kernels."""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from aimc_lightning.functional.cpu_jit import part, scalar
from aimc_lightning.functional.cpu_normals import bits_to_float, float_to_bits

Array = np.ndarray
_U16, _U32, _F32 = np.uint16, np.uint32, np.float32


@scalar
def to_bf16(value: float) -> int:
    """Return the 16 bits of the nearest bfloat16, ties to even."""
    bits = float_to_bits(value)
    rounding = _U32(_U32(0x7FFF) + _U32(_U32(bits >> _U32(16)) & _U32(1)))
    return _U16(_U32(bits + rounding) >> _U32(16))


@scalar
def _from_bf16(value: int) -> float:
    return bits_to_float(_U32(_U32(value) << _U32(16)))


def to_float(raw: Any) -> float:  # noqa: ANN401 - a number of any type
    """Return a bfloat16, or an integer of another type, as float32."""
    raise NotImplementedError("only inside kernels")


@overload(to_float, jit_options={"forceinline": True}, strict=False)
def _to_float_in_kernels(raw: Any) -> Any:  # noqa: ANN401 - numba's protocol
    if raw == types.uint16:
        return lambda raw: _from_bf16(raw)
    return lambda raw: _F32(raw)


@part
def narrow(values: Array, target: Array) -> None:
    """Write numbers in bfloat16; nothing if ``target`` has size 0."""
    for i in range(target.size):
        target[i] = to_bf16(values[i])


@part
def narrow_magnitude(values: Array, target: Array) -> None:
    """Write the magnitudes likewise."""
    for i in range(target.size):
        target[i] = to_bf16(abs(values[i]))


@part
def narrow_square(values: Array, target: Array) -> None:
    """Write the squares of the numbers in bfloat16 likewise."""
    for i in range(target.size):
        value = _from_bf16(to_bf16(values[i]))
        target[i] = to_bf16(value * value)

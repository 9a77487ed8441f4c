"""Weights as 8-bit integers, for CPUs that multiply these far faster than floating point."""

from typing import NamedTuple

import torch
from torch import Tensor

#: Steps of the low part in one of the high part, and in the largest weight of an output.
LOW_STEPS = 256
LARGEST = 127 * LOW_STEPS + 127
#: Products of 8-bit integers that 32 bits can add up.
MOST_TERMS = 2**17 - 1
#: Squares of DAC codes are counted in steps of this size, of which there are 127.
SQUARE_STEP = 127


class IntegerWeights(NamedTuple):
    """Weights ``(high + low / 256) * unit`` of a linear tile, and what is derived from them.

    A weight is off by at most 2**-16 of the largest of its output, a derived one by 2**-8 of it.
    DAC codes are such integers already, so products and sums are exact.

    Attributes:
        high: int8, ``(out, in)``.
        low: int8, ``(out, in)``.
        unit: Size of one step, ``(out,)``, float32; NaN where a weight is.
        magnitude: ``|w|`` in steps, int8, ``(out, in)``; ``None`` without IR drop and read noise.
        positioned: Position-weighted w of the IR drop, likewise; ``None`` without it.
    """

    high: Tensor
    low: Tensor
    unit: Tensor
    magnitude: Tensor | None = None
    positioned: Tensor | None = None


def integer_product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``a @ b`` of 8-bit integers, exact in 32 bits.

    Args:
        a: ``(n, m)``, int8.
        b: ``(m, p)``, int8; either may be transposed.
        out: Memory for the result, ``(n, p)``, int32.

    Returns:
        Shape ``(n, p)``, int32.

    Example:
        >>> one = torch.ones(2, 1, dtype=torch.int8)
        >>> integer_product(3 * one, one.t())
        tensor([[3, 3],
                [3, 3]], dtype=torch.int32)
    """
    # torch 2.6 takes a row with the strides of a transposed column for a column, and leaves the
    # result as the memory was. A copy has the strides of a row.
    a, b = (x.clone(memory_format=torch.contiguous_format) if 1 in x.shape else x for x in (a, b))
    return torch._int_mm(a, b) if out is None else torch._int_mm(a, b, out=out)

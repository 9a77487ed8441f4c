"""Weights as 8-bit integers, for CPUs that multiply these far faster than floating point."""

from typing import NamedTuple

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

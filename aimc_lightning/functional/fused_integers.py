"""Products of linear tiles with 8-bit integers, where the CPU has instructions for them.

Such a product takes about a quarter of the time of float32. DAC codes are integers of 8 bits;
weights become two of them, see :mod:`.integer_weights`, which is as exact as 16 bits.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aimc_lightning.functional.cpu_integers import (
    IntegerArrays,
    IntegerInputs,
    convert_integer_inputs,
    quantize_rows,
)
from aimc_lightning.functional.cpu_jit import run_in_threads
from aimc_lightning.functional.cpu_kernels import InputNumbers, OutputNumbers, ProductArrays
from aimc_lightning.functional.cpu_layout import Border, flat_array
from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery, auxiliary_dtype
from aimc_lightning.functional.integer_weights import (
    MOST_TERMS,
    SQUARE_STEP,
    IntegerWeights,
    integer_product,
)
from aimc_lightning.functional.ir_drop import position_weights
from aimc_lightning.functional.standard_effects import has_only_standard_effects

_STRONG = 1.0  # IR drop whose error of 8 bits could; 0.46 for 512 rows of the standard crossbar


def can_use_integers(weight: Tensor, p: Periphery) -> bool:
    """Return whether the products of a tile run with integers.

    A weight is off by 2**-16 of the largest at most, which is 2 % of an output noise of 0.01 with
    512 inputs at full range. The IR drop is off by some percent of the noise, unless it is drawn
    far stronger than it is in a crossbar of that size.

    Example:
        >>> can_use_integers(torch.ones(3, 2), Periphery())  # without output noise
        False
    """
    return (
        not torch.compiler.is_compiling()
        and has_integer_instructions()
        and weight.dim() == 2
        and weight.shape[1] <= MOST_TERMS
        and weight.device.type == "cpu"
        and auxiliary_dtype(p, weight) == torch.bfloat16  # noise hides what it hides there
        and has_only_standard_effects(CrossbarWeights(weight, weight.shape[1]), p)
        and (p.dac_steps or 0) <= 254
        and p.ir_drop_scale * weight.shape[1] ** 2 / p.ir_drop_g_ratio <= _STRONG
        and (p.read_noise_std == 0 or p.read_noise_type == "pcm")
    )


def has_integer_instructions() -> bool:
    """Return whether torch multiplies 8-bit integers with instructions made for it (AVX-512 VNNI).

    Without them such a product is slower than one in float32.

    Example:
        >>> has_integer_instructions() in (True, False)
        True
    """
    found = getattr(torch.cpu, "_is_vnni_supported", None)
    return found is not None and bool(found()) and hasattr(torch, "_int_mm")


def new_integers(weight: Tensor, p: Periphery) -> IntegerWeights:
    """Return memory for the integers of weights ``(out, in)``, not filled."""

    def empty(wanted: bool = True) -> Tensor | None:
        return torch.empty(weight.shape, dtype=torch.int8) if wanted else None

    high, low = empty(), empty()
    assert high is not None
    assert low is not None
    drops, reads = p.ir_drop_scale > 0, p.read_noise_std > 0
    unit = torch.empty(len(weight), dtype=torch.float32)
    return IntegerWeights(high, low, unit, empty(drops or reads), empty(drops))


def arrays_of(integers: IntegerWeights | None) -> IntegerArrays:
    """Return integers as kernels see them; arrays of size 0 for ``None``."""
    if integers is None:
        none = np.empty(0, np.int8)
        return IntegerArrays(none, none, np.empty(0, np.float32), none, none)
    return IntegerArrays(
        flat_array(integers.high),
        flat_array(integers.low),
        flat_array(integers.unit),
        flat_array(integers.magnitude, np.int8),
        flat_array(integers.positioned, np.int8),
    )


def integer_weights(weight: Tensor, periphery: Periphery) -> CrossbarWeights:
    """Return weights with their integers alone.

    Args:
        weight: Normalised weights, ``(out, in)``.
        periphery: For which :func:`can_use_integers` holds.

    Example:
        >>> quiet = Periphery(output_noise_std=0.04)
        >>> integer_weights(torch.tensor([[1.0, -0.5]]), quiet).integers.high
        tensor([[127, -64]], dtype=torch.int8)
    """
    integers, n = new_integers(weight, periphery), weight.shape[1]
    values, out = flat_array(weight.contiguous()), arrays_of(integers)
    position = position_weights(n, dtype=torch.float32, device=weight.device).numpy()
    run_in_threads(
        lambda first, last: quantize_rows(values, position, out, first, last),
        len(weight),
        values.size,
    )
    return CrossbarWeights(weight, n, integers=integers)


def new_pair(
    shape: tuple[int, int], dtype: torch.dtype, drops: bool, reads: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return memory for magnitudes and squares of inputs, as IR drop and read noise need them.

    Both meet the same weights and therefore lie behind each other.

    Args:
        shape: Of each, ``(rows, channels)``.
        dtype: Of both.
        drops: Whether there is IR drop.
        reads: Whether there is read noise.

    Returns:
        The whole, ``(1 or 2, rows, channels)``, magnitudes and squares; ``None`` if not needed.

    Example:
        >>> whole, magnitudes, squares = new_pair((2, 3), torch.int8, False, True)
        >>> whole.shape, magnitudes, squares.shape
        (torch.Size([1, 2, 3]), None, torch.Size([2, 3]))
    """
    if not (drops or reads):
        return None, None, None
    whole = torch.empty(drops + reads, *shape, dtype=dtype)
    return whole, whole[0] if drops else None, whole[-1] if reads else None


class IntegerDac(NamedTuple):
    """DAC codes in rows, int8; magnitudes and squares, as wanted, behind each other in ``pair``.

    ``flawed`` is 1 for each row with a NaN.
    """

    codes: Tensor
    pair: Tensor | None
    flawed: Tensor


def integer_dac(
    inputs: Border, p: Periphery, inverse_range: float, integers: IntegerWeights
) -> IntegerDac:
    """Return what leaves the DAC."""
    blocks = inputs.blocks
    shape = blocks.rows, blocks.channels
    drops = integers.positioned is not None
    reads = integers.magnitude is not None and p.read_noise_std > 0
    pair, magnitude, squares = new_pair(shape, torch.int8, drops, reads)
    codes, flawed = torch.empty(shape, dtype=torch.int8), torch.empty(shape[0], dtype=torch.int8)
    out = IntegerDac(codes, pair, flawed)
    arrays = IntegerInputs(
        flat_array(out.codes),
        flat_array(magnitude, np.int8),
        flat_array(squares, np.int8),
        flat_array(out.flawed),
    )
    x, numbers = flat_array(inputs.flat), InputNumbers(inverse_range, (p.dac_steps or 0) / 2)
    run_in_threads(
        lambda first, last: convert_integer_inputs(x, blocks, numbers, arrays, first, last),
        blocks.number,
        blocks.elements,
    )
    return out


def integer_products(dac: IntegerDac, integers: IntegerWeights, p: Periphery) -> ProductArrays:
    """Return the products as sums of integers, int32, rows ``(rows, out)``."""
    high, low = _product(dac.codes, integers.high), _product(dac.codes, integers.low)
    weighted = current = squares = None
    if integers.positioned is not None:
        weighted = _product(dac.codes, integers.positioned)
    if dac.pair is not None and integers.magnitude is not None:
        # One product of twice the rows reads the weights once.
        both = _product(dac.pair.flatten(0, 1), integers.magnitude).view(len(dac.pair), *high.shape)
        current = both[0] if integers.positioned is not None else None
        squares = both[-1] if p.read_noise_std > 0 else None
    found = high, current, weighted, squares, low, dac.flawed
    return ProductArrays(*(flat_array(x, np.int32) for x in found))


def _product(codes: Tensor, weight: Tensor) -> Tensor:
    return integer_product(codes, weight.t())


def in_integers(numbers: OutputNumbers) -> OutputNumbers:
    """Return the numbers of the ADC for squares that are counted in steps."""
    return numbers._replace(read_variance=numbers.read_variance * SQUARE_STEP)

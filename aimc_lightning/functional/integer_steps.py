"""The signal chain of equal tiles in one time step, with products of 8-bit integers."""

import torch
from torch import Tensor

from aimc_lightning.functional.crossbar import (
    CrossbarWeights,
    Periphery,
    adc_,
    add_output_noise_,
    dac_codes,
)
from aimc_lightning.functional.integer_weights import (
    LOW_STEPS,
    SQUARE_STEP,
    IntegerWeights,
    integer_product,
)
from aimc_lightning.functional.ir_drop import subtract_ir_drop_
from aimc_lightning.functional.noise import read_noise_variance
from aimc_lightning.functional.product import StackedProduct


def integer_step_codes(
    relative_x: Tensor,
    weights: CrossbarWeights,
    periphery: Periphery,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return what :func:`~aimc_lightning.functional.crossbar.crossbar_codes` does.

    Args:
        relative_x: Inputs divided by the input range, ``(tiles, batch, in)``; overwritten.
        weights: With integers, each ``(tiles, out, in)``.
        periphery: Numbers of the signal chain.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        ADC codes, ``(tiles, batch, out)``.
    """
    p, integers = periphery, weights.integers
    assert integers is not None
    x, step = dac_codes(relative_x, p, generator)
    codes = x.to(torch.int8)
    z = _in_units(codes, integers.low, integers.unit).mul_(1 / LOW_STEPS)
    z = z.add_(_in_units(codes, integers.high, integers.unit)).mul_(step)
    z = z.add_(x.sum(-1, keepdim=True).mul_(0))  # codes have no NaN; the sum has that of the input
    variance = None
    if integers.positioned is not None or p.read_noise_std > 0:
        current, variance = _corrections(x, codes, integers, p)
        if current is not None and integers.positioned is not None:
            weighted = _in_units(codes, integers.positioned, integers.unit)
            scale, n = p.ir_drop_scale * step, weights.in_features * step
            z = subtract_ir_drop_(z, current, weighted, n, scale, p.ir_drop_g_ratio)
        if variance is not None:
            variance = read_noise_variance(variance, p.read_noise_std * step)
    z = add_output_noise_(z, variance, p, StackedProduct(), generator)
    return adc_(z, p, generator)


def _corrections(
    x: Tensor, codes: Tensor, integers: IntegerWeights, p: Periphery
) -> tuple[Tensor | None, Tensor | None]:
    """Return the products of ``|w|`` with magnitudes, for IR drop, and squares, for read noise."""
    assert integers.magnitude is not None
    drops, reads = integers.positioned is not None, p.read_noise_std > 0
    inputs = [codes.abs()] if drops else []
    if reads:
        inputs.append(x.square().mul_(1 / SQUARE_STEP).round_().to(torch.int8))
    found = _in_units(torch.cat(inputs, 1), integers.magnitude, integers.unit)
    products = found.chunk(len(inputs), 1)
    return products[0] if drops else None, products[-1].mul_(SQUARE_STEP) if reads else None


def _in_units(codes: Tensor, weight: Tensor, unit: Tensor) -> Tensor:
    """Return the products of each tile, ``(tiles, rows, out)``, times the units of its outputs."""
    sums = torch.empty(*codes.shape[:2], weight.shape[1], dtype=torch.int32)
    for tile in range(len(codes)):
        integer_product(codes[tile], weight[tile].t(), out=sums[tile])
    return sums * unit.unsqueeze(1)

"""The crossbar under noise and bound management, which choose a factor for each input vector."""

import torch
from torch import Tensor

from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery, crossbar_codes
from aimc_lightning.functional.product import Product
from aimc_lightning.functional.range_management import (
    MAX_BOUND_FACTOR,
    next_bound_factor,
    noise_management_factor,
    np_sum_factor,
)


def managed_codes(
    relative_x: Tensor,
    weights: CrossbarWeights,
    periphery: Periphery,
    product: Product,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Run the crossbar under noise and bound management.

    Args:
        relative_x: Inputs in units of the input range, shape ``(..., in_features)`` when any
            management is on; overwritten.
        weights: Weights of the tile.
        periphery: Numbers of the signal chain.
        product: How inputs meet weights.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        ADC codes, and the factor ``(..., 1)`` that multiplies them, ``None`` when all are 1.
    """
    p = periphery
    if p.noise_management == "none" and p.bound_management == "none":
        return crossbar_codes(relative_x, weights, p, product, generator=generator), None
    factor = torch.ones_like(relative_x[..., :1])
    if p.noise_management != "none":
        factor = noise_management_factor(
            relative_x,
            p.noise_management,
            threshold=p.nm_threshold,
            out_bound=p.out_bound,
            dac_steps=p.dac_steps,
        )
    codes = crossbar_codes(relative_x / factor, weights, p, product, generator=generator)
    if p.bound_management == "none" or p.out_bound is None:
        return codes, factor
    start = factor
    limit = min(MAX_BOUND_FACTOR, p.dac_steps / 8 if p.dac_steps else MAX_BOUND_FACTOR)
    again = True
    while again:
        outputs = codes * p.adc_step
        if p.bound_management == "worst_case":
            hit = (outputs.abs() >= p.out_bound).any(-1, keepdim=True)
            worst = torch.maximum(start, np_sum_factor(relative_x, p.out_bound))
            raised, again = torch.where(hit, worst, factor), False
        else:
            relative, again = next_bound_factor(factor / start, outputs, p.out_bound, limit)
            raised = relative * start
        repeated = crossbar_codes(relative_x / raised, weights, p, product, generator=generator)
        codes = torch.where(raised != factor, repeated, codes)
        factor = raised
    return codes, factor

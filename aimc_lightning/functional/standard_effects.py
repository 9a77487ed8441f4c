"""What the fused kernels of CPU and GPU know of the signal chain."""

from typing import NamedTuple

import torch
from torch import Tensor

from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery, auxiliary_dtype
from aimc_lightning.functional.noise import NoiseLaw


class Scales(NamedTuple):
    """Input range c, a scalar or one of each tile, and digital units per normalised weight."""

    input_range: Tensor
    output: Tensor


class Products(NamedTuple):
    """Products of one tile in one memory layout: the ideal one and those of the corrections."""

    z: Tensor
    current: Tensor | None
    weighted: Tensor | None
    squares: Tensor | None


class Gradients(NamedTuple):
    """Gradients of a tile before the scales of weight and output scale.

    ``x`` has the shape of the inputs and ``weight`` of the normalised weight; ``per_output`` is the
    sum of gradient times ADC code, ``(out,)``; ``range`` is that of the input range, scalar.
    """

    x: Tensor | None
    weight: Tensor | None
    per_output: Tensor | None
    range: Tensor | None


_MAX_STEPS = 2 * 32767  # codes are kept as 16-bit integers at most


def has_only_standard_effects(weights: CrossbarWeights, p: Periphery) -> bool:
    """Return whether a tile has quantising converters, IR drop and noise, and nothing else.

    Example:
        >>> has_only_standard_effects(CrossbarWeights(torch.ones(3, 2), 2), Periphery())
        False
    """
    converters = (
        p.clip_input
        and p.dac_steps is not None
        and p.dac_steps <= _MAX_STEPS
        and p.adc_steps is not None
        and p.adc_steps <= _MAX_STEPS
        and not (p.dac_stochastic or p.adc_stochastic)
    )
    return (
        converters
        and weights.weight.dtype in (torch.float32, torch.bfloat16)
        and weights.negative is None
        and all(
            auxiliary is None or auxiliary.dtype == torch.bfloat16
            for auxiliary in (weights.magnitude, weights.positioned, weights.squares)
        )
        and p.input_asymmetry == p.input_noise_std == p.output_asymmetry == p.r_series == 0
        and p.v_offset is None
        and p.steepness is None
        and p.noise_management == p.bound_management == "none"
    )


def has_simple_weights(weight: Tensor, periphery: Periphery, law: NoiseLaw) -> bool:
    """Return whether weights take one random number each at most, and corrections in bfloat16.

    Example:
        >>> has_simple_weights(torch.ones(3, 2), Periphery(), NoiseLaw("discretize"))
        False
    """
    known = law.kind in ("none", "additive", "polynomial", "programming") or (
        law.kind == "pcm" and law.t_inference_s == 0
    )
    return (
        known
        and len(law.coefficients) <= 3
        and periphery.read_noise_type == "pcm"
        and auxiliary_dtype(periphery, weight) == torch.bfloat16
    )


def is_noisy(p: Periphery) -> bool:
    """Return whether outputs take a random number each.

    Example:
        >>> is_noisy(Periphery())
        False
    """
    return p.output_noise_std > 0 or p.read_noise_std > 0


def new_weights(weight: Tensor, p: Periphery) -> CrossbarWeights:
    """Return memory for the weights of a tile and for what its periphery needs from them.

    Args:
        weight: Gives shape and device.
        p: Numbers of the signal chain.

    Returns:
        Dense weights in float32 and the others in bfloat16, not filled.

    Example:
        >>> new_weights(torch.ones(3, 2), Periphery()).weight.shape
        torch.Size([3, 2])
    """

    def empty(dtype: torch.dtype) -> Tensor:
        return torch.empty(weight.shape, dtype=dtype, device=weight.device)

    drops, reads = p.ir_drop_scale > 0, p.read_noise_std > 0
    magnitude = empty(torch.bfloat16) if drops or reads else None
    return CrossbarWeights(
        empty(torch.float32),
        weight[0].numel(),
        magnitude if drops else None,
        empty(torch.bfloat16) if drops else None,
        magnitude if reads else None,
    )


def code_dtype(steps: int | None) -> torch.dtype:
    """Return the smallest type that holds the codes of a converter.

    Example:
        >>> code_dtype(254)
        torch.int8
    """
    return torch.int8 if steps is not None and steps <= 254 else torch.int16

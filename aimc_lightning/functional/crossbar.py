"""The signal chain of one crossbar from DAC to ADC.

``crossbar_codes`` shows it top to bottom, in the order of IBM/aihwkit,
``rpucuda/rpu_forward_backward_pass.cpp`` (``applyNonIdealities``, ``finalizeOutput``). Gradients
are in :mod:`.mvm`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from aimc_lightning.functional.integer_weights import IntegerWeights
from aimc_lightning.functional.ir_drop import position_weights, subtract_ir_drop_
from aimc_lightning.functional.noise import ReadNoiseType, read_noise_variance
from aimc_lightning.functional.nonlinearity import (
    asymmetric_,
    offset_and_series_resistance,
    s_shape,
)
from aimc_lightning.functional.product import Product
from aimc_lightning.functional.quantize import converter_codes
from aimc_lightning.functional.random import standard_normal_like
from aimc_lightning.functional.range_management import BoundManagement, NoiseManagement


class Periphery(NamedTuple):
    """Plain numbers of the signal chain; every default switches its effect off.

    Vectors over outputs have shape ``(out,)``; all values are dimensionless, in units where one
    full input on one full weight gives 1.
    """

    clip_input: bool = True
    dac_steps: int | None = None
    dac_stochastic: bool = False
    input_asymmetry: float = 0.0
    input_noise_std: float = 0.0
    ir_drop_scale: float = 0.0
    ir_drop_g_ratio: float = float("inf")
    v_offset: Tensor | None = None
    v_offset_w_min: float = -1.0
    r_series: float = 0.0
    read_noise_type: ReadNoiseType = "pcm"
    read_noise_std: float = 0.0
    steepness: Tensor | None = None
    slope: Tensor | float = 1.0
    output_noise_std: float = 0.0
    output_noise_factor: Tensor | None = None
    output_asymmetry: float = 0.0
    adc_steps: int | None = None
    adc_stochastic: bool = False
    out_bound: float | None = None
    noise_management: NoiseManagement = "none"
    nm_threshold: float = 0.0
    bound_management: BoundManagement = "none"
    decay: float = 0.0
    min_percentage: float = 0.95

    @property
    def adc_step(self) -> float:
        """Size of one ADC step, or 1 without quantisation."""
        return 1.0 if self.adc_steps is None else 2 * (self.out_bound or 1.0) / self.adc_steps

    @property
    def code_limit(self) -> float | None:
        """Largest ADC code, or the bound without quantisation; ``None`` if never clipped."""
        return self.out_bound if self.adc_steps is None else self.adc_steps / 2


class CrossbarWeights(NamedTuple):
    """Weights of one tile and what is derived from them once per draw of noise.

    ``weight`` is normalised, shape ``(out, in / groups, *kernel)``. ``negative`` replaces it for
    negative inputs when these take a pass of their own. The others are ``None`` when not needed:
    ``magnitude`` is ``|w|``, ``positioned`` the position-weighted w of the IR drop, ``squares`` the
    weights of the squared inputs in the read noise. ``integers`` stand for all of these in the
    kernels that know them.
    """

    weight: Tensor
    in_features: int
    magnitude: Tensor | None = None
    positioned: Tensor | None = None
    squares: Tensor | None = None
    negative: "CrossbarWeights | None" = None
    integers: IntegerWeights | None = None


def auxiliary_dtype(periphery: Periphery, weight: Tensor) -> torch.dtype:
    """Return the dtype of the products that serve IR drop and read noise.

    They enter as small corrections. When output noise is drawn, an error of 2**-9 of the correction
    is far below it and bfloat16 halves the time; without noise they are as exact as the rest.

    Example:
        >>> import torch
        >>> auxiliary_dtype(Periphery(output_noise_std=0.04), torch.ones(1))
        torch.bfloat16
    """
    noisy = periphery.output_noise_std >= 0.01 and weight.dtype == torch.float32
    return torch.bfloat16 if noisy else weight.dtype


def product_dtype(periphery: Periphery, weight: Tensor) -> torch.dtype:
    """Return the dtype of the product itself: autocast's bfloat16 where noise hides its rounding.

    DAC codes of up to 8 bits are exact in bfloat16. Outputs are rounded by at most 2**-9 of their
    size, so never by more than the output noise if 2**-9 of the bound is within it. float16 is not
    used: sums of codes exceed its largest number.

    Example:
        >>> import torch
        >>> p = Periphery(output_noise_std=0.04, out_bound=12.0)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     product_dtype(p, torch.ones(1))
        torch.bfloat16
        >>> product_dtype(p, torch.ones(1))
        torch.float32
    """
    device = weight.device.type
    hidden = periphery.out_bound is not None and (
        periphery.out_bound * 2**-9 <= periphery.output_noise_std
    )
    if (
        hidden
        and weight.dtype == torch.float32
        and torch.is_autocast_enabled(device)
        and torch.get_autocast_dtype(device) == torch.bfloat16
    ):
        return torch.bfloat16
    return weight.dtype


def crossbar_weights(
    weight: Tensor, periphery: Periphery, negative: Tensor | None = None
) -> CrossbarWeights:
    """Return the weights of a tile with all that the periphery needs from them.

    Args:
        weight: Normalised weights, shape ``(out, in / groups, *kernel)``.
        periphery: Numbers of the signal chain.
        negative: Weights seen by negative inputs in a pass of their own, same shape, or ``None``.

    Example:
        >>> import torch
        >>> crossbar_weights(torch.ones(3, 2), Periphery()).in_features
        2
    """
    in_features = weight[0].numel()
    dtype = auxiliary_dtype(periphery, weight)
    magnitude = positioned = squares = None
    if periphery.ir_drop_scale > 0:
        position = position_weights(in_features, dtype=weight.dtype, device=weight.device)
        positioned = (weight * position.view(weight.shape[1:])).to(dtype)
        magnitude = weight.abs().to(dtype)
    if periphery.read_noise_std > 0:
        if periphery.read_noise_type == "constant":
            squares = torch.ones_like(weight, dtype=dtype)
        else:
            squares = weight.abs().to(dtype) if magnitude is None else magnitude
    reverse = None if negative is None else crossbar_weights(negative, periphery)
    return CrossbarWeights(weight, in_features, magnitude, positioned, squares, reverse)


def crossbar_codes(
    relative_x: Tensor,
    weights: CrossbarWeights,
    periphery: Periphery,
    product: Product,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the ADC codes of a crossbar for inputs in units of the input range.

    Args:
        relative_x: Inputs divided by the input range, beyond +-1 they are clipped; overwritten.
        weights: Weights of the tile.
        periphery: Numbers of the signal chain.
        product: How inputs meet weights.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Codes in units of ``periphery.adc_step``, shape of the product, same float dtype.
    """
    p = periphery
    x, step = dac_codes(relative_x, p, generator)
    if weights.negative is None:
        z, variance = _analog_product(x, step, weights, p, product)
    else:
        z, variance = _analog_product(x.clamp(min=0), step, weights, p, product)
        z_negative, more = _analog_product(x.clamp(max=0), step, weights.negative, p, product)
        z = z + z_negative
        variance = variance if more is None or variance is None else variance + more
    if p.steepness is not None:
        if variance is not None:
            z = z.addcmul_(variance.sqrt_(), standard_normal_like(z, generator=generator))
            variance = None
        z = s_shape(z, product.per_output(p.steepness.to(z)), p.slope)
    if p.output_asymmetry > 0:
        z = asymmetric_(z, p.output_asymmetry)
    z = add_output_noise_(z, variance, p, product, generator)
    return adc_(z, p, generator)


def dac_codes(x: Tensor, p: Periphery, generator: torch.Generator | None) -> tuple[Tensor, float]:
    """Return DAC codes and the size of one code relative to the input range.

    Args:
        x: Inputs in units of the input range, any shape; overwritten.
        p: Numbers of the signal chain.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Codes (integers without input noise), same shape, and their step.

    Example:
        >>> import torch
        >>> dac_codes(torch.tensor([0.5, 2.0]), Periphery(dac_steps=2), None)
        (tensor([0., 1.]), 1.0)
    """
    step = 1.0
    x = x.clamp_(-1, 1) if p.clip_input else x
    if p.dac_steps is not None:
        step = 2 / p.dac_steps
        x = converter_codes(
            x.mul_(p.dac_steps / 2), p.dac_steps, stochastic=p.dac_stochastic, generator=generator
        )
    if p.input_asymmetry > 0:
        x = asymmetric_(x, p.input_asymmetry)
    if p.input_noise_std > 0:
        noise = standard_normal_like(x, generator=generator)
        x = x.add_(noise, alpha=p.input_noise_std / step)
    return x, step


def _analog_product(
    x: Tensor, step: float, weights: CrossbarWeights, p: Periphery, product: Product
) -> tuple[Tensor, Tensor | None]:
    """Return the product after IR drop and offsets, and the variance of its read noise."""
    z = product.forward(x.to(weights.weight.dtype), weights.weight).to(x.dtype)
    if step != 1.0:
        z = z.mul_(step)
    variance = input_sum = None
    if p.v_offset is not None or p.r_series > 0:
        ones = torch.ones_like(weights.weight, dtype=x.dtype)
        input_sum = product.forward(x, ones).mul_(step)
    helper = weights.positioned if weights.squares is None else weights.squares
    if helper is not None:
        # DAC codes are small integers, which bfloat16 holds exactly up to 8 bits.
        coarse = x.to(helper.dtype)
        squares = None
        if weights.positioned is not None and weights.magnitude is not None:
            if weights.magnitude is weights.squares:
                current, squares = product.pair(coarse.abs(), coarse.square(), weights.magnitude)
            else:
                current = product.forward(coarse.abs(), weights.magnitude)
            current = current.to(z.dtype)
            weighted = product.forward(coarse, weights.positioned).to(z.dtype)
            scale = p.ir_drop_scale * step
            z = subtract_ir_drop_(
                z, current, weighted, weights.in_features * step, scale, p.ir_drop_g_ratio
            )
        if weights.squares is not None:
            # Overwrites x where no other dtype was needed, so x must not be used below.
            if squares is None:
                squares = product.forward(coarse.square_(), weights.squares)
            variance = read_noise_variance(squares.to(z.dtype), p.read_noise_std * step)
    if input_sum is not None:
        v_offset = 0.0 if p.v_offset is None else product.per_output(p.v_offset.to(z))
        z = offset_and_series_resistance(z, input_sum, v_offset, p.r_series, p.v_offset_w_min)
    return z, variance


def add_output_noise_(
    z: Tensor,
    read_variance: Tensor | None,
    p: Periphery,
    product: Product,
    generator: torch.Generator | None,
) -> Tensor:
    """Add read and output noise to ``z`` in one draw: independent normals add up to one normal."""
    if read_variance is None and p.output_noise_std <= 0:
        return z
    noise = standard_normal_like(z, generator=generator)
    std: Tensor | float = p.output_noise_std
    if p.output_noise_factor is not None:
        std = product.per_output((p.output_noise_factor.to(z) * std).abs())
    if read_variance is None:
        return z.add_(noise.mul_(std))
    return z.addcmul_(read_variance.add_(std**2).sqrt_(), noise)


def adc_(z: Tensor, p: Periphery, generator: torch.Generator | None) -> Tensor:
    """Return ADC codes, or clipped outputs without quantisation; overwrites ``z``."""
    if p.adc_steps is None:
        return z if p.out_bound is None else z.clamp_(-p.out_bound, p.out_bound)
    levels = z.mul_(1 / p.adc_step)
    return converter_codes(levels, p.adc_steps, stochastic=p.adc_stochastic, generator=generator)

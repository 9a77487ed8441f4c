"""The digital side of a tile: the numbers of its signal chain, and its sums."""

import torch
from torch import Tensor

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.crossbar import Periphery
from aimc_lightning.functional.nonlinearity import calibrated_slope


def added(y: Tensor, term: Tensor) -> Tensor:
    """Return the sum, in the memory of ``y`` where no gradient follows: new memory costs more."""
    follows = torch.is_grad_enabled() and (y.requires_grad or term.requires_grad)
    return y + term if follows else y.add_(term)


def build_periphery(config: TileConfig) -> Periphery:
    """Return the plain numbers of the signal chain without any spread between columns.

    Example:
        >>> build_periphery(TileConfig()).dac_steps
        254
    """
    ranges, noise, distortion = config.input_range, config.noise, config.distortion
    bound = config.adc.bound
    dynamic = ranges.mode == "dynamic"
    steepness = None
    slope: Tensor | float = 1.0
    calibrated = distortion.r_series > 0 and distortion.slope_calibration > 0
    if (distortion.out_nonlinearity > 0 or calibrated) and bound is not None:
        steepness = torch.tensor([distortion.out_nonlinearity / bound])
        slope = calibrated_slope(
            steepness, distortion.r_series, distortion.slope_calibration, bound
        ).item()
    return Periphery(
        clip_input=ranges.mode in ("learned", "fixed") or config.dac.bits is not None,
        dac_steps=config.dac.steps,
        dac_stochastic=config.dac.stochastic,
        input_asymmetry=config.dac.asymmetry,
        input_noise_std=noise.input_std,
        ir_drop_scale=config.ir_drop.scale,
        ir_drop_g_ratio=config.ir_drop.g_ratio,
        r_series=distortion.r_series,
        v_offset_w_min=distortion.v_offset_w_min,
        read_noise_type=noise.read_type,
        read_noise_std=noise.read_std,
        steepness=steepness,
        slope=slope,
        output_noise_std=noise.output_std,
        output_asymmetry=config.adc.asymmetry,
        adc_steps=config.adc.steps,
        adc_stochastic=config.adc.stochastic,
        out_bound=bound,
        noise_management="abs_max" if dynamic else ranges.noise_management,
        nm_threshold=ranges.nm_threshold,
        bound_management=ranges.bound_management,
        decay=ranges.decay,
        min_percentage=ranges.min_percentage,
    )

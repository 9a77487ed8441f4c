"""Training noise that is the memory device itself: programmed anew, aged, and compensated."""

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from aimc_lightning.devices.converters import SinglePair
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.functional import kernels
from aimc_lightning.functional.conductance import SMALLEST_MAXIMUM
from aimc_lightning.functional.drift import accumulated_noise_growth
from aimc_lightning.tile_config import ChipConfig


def device_weight_noise(
    weight: Tensor,
    chip: ChipConfig,
    out_sizes: list[int],
    t_inference_s: float,
    scale: float = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return weights as a freshly programmed and aged chip would hold them.

    .. math:: w' = w + S \, (\alpha \, w_\text{chip}(t) - w)

    with both devices of each pair, their programming noise, drift exponents and 1/f noise, and
    :math:`\alpha = \overline{|w_\text{chip}(0)|} / \overline{|w_\text{chip}(t)|}` in place of the
    read-out of global drift compensation. Every device and converter can be trained for in this
    way, without a training law of its own.

    Args:
        weight: Normalised weights, ``(out, ...)``, dimensionless.
        chip: Device and converter; its ``compensation`` applies.
        out_sizes: Outputs of each crossbar.
        t_inference_s: Seconds after programming; 0 is right after it.
        scale: S, multiple of the deviation.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Normalised weights, a new tensor of the same shape.

    Example:
        >>> w = torch.tensor([[0.5, -1.0]])
        >>> noisy = device_weight_noise(w, ChipConfig(), [1], 3600.0, scale=0.0)
        >>> bool((noisy == w).all())
        True
    """
    crossbars = weight.flatten(1).split(out_sizes)
    if _can_fuse(weight, chip):
        held = [_fused(part, chip, t_inference_s, generator) for part in crossbars]
    elif weight.is_cuda and generator is None and not torch.compiler.is_compiling():
        held = [_compiled(part, chip, t_inference_s) for part in crossbars]
    else:
        held = [_on_a_chip(part, chip, t_inference_s, generator) for part in crossbars]
    noisy = torch.cat(held).view_as(weight)
    return noisy if scale == 1 else weight + scale * (noisy - weight)


@torch.compiler.assume_constant_result  # a graph takes the number, not how it is found
def share_left(chip: ChipConfig, t_inference_s: float) -> float:
    """Return which share of a tile's currents is left after a time, on average over weights.

    Args:
        chip: Device and converter.
        t_inference_s: Seconds after programming.

    Returns:
        What drift compensation makes up for, above 0; 1 without it, and where the device has no
        data for the time.

    Example:
        >>> round(share_left(ChipConfig(), 31_536_000.0), 2)
        0.5
    """
    return 1.0 if t_inference_s == 0 else _share_left(chip, t_inference_s)


@functools.cache
def _share_left(chip: ChipConfig, t_inference_s: float) -> float:
    try:
        chip.device.check_time(t_inference_s)
    except ValueError:
        return 1.0
    if chip.compensation == "none":
        return 1.0
    weight, bare = torch.linspace(-1, 1, 4096).view(64, 64), replace(chip, compensation="none")
    fresh, aged = (
        device_weight_noise(weight, bare, [64], time_s, generator=torch.Generator().manual_seed(0))
        .abs()
        .mean()
        for time_s in (0.0, t_inference_s)
    )
    return float(aged / fresh)


def _on_a_chip(
    weight: Tensor, chip: ChipConfig, t_inference_s: float, generator: torch.Generator | None
) -> Tensor:
    """Return the weights, ``(out, in)``, that one crossbar holds after a time, compensated."""
    device, converter = chip.device, chip.converter
    targets, factor = converter.to_conductances(weight, device.g_max_us)
    drawn = [device.program_chip(target, generator=generator) for target in targets]
    programmed = converter.to_weights([g for g, _ in drawn], factor, device.g_max_us)
    if t_inference_s == 0:
        return programmed
    reads = [
        device.read(g, nu, target, t_inference_s, generator=generator)
        for (g, nu), target in zip(drawn, targets, strict=True)
    ]
    aged = converter.to_weights(reads, factor, device.g_max_us)
    if chip.compensation == "none":
        return aged
    axis = 1 if chip.compensation == "column" else None
    reference = weight if chip.compensation == "exact" else programmed
    before, after = (w.abs().mean(axis, keepdim=axis is not None) for w in (reference, aged))
    return aged * (before / after.clamp(min=1e-8))


def _compiled(weight: Tensor, chip: ChipConfig, t_inference_s: float) -> Tensor:
    """Return the same from few kernels: on a GPU its hundred operations take most of a step."""
    torch._dynamo.maybe_mark_dynamic(weight, [0, 1])  # compiled once for matrices of all sizes
    return _compile()(weight, chip, t_inference_s, None)


@functools.cache
def _compile() -> Callable[..., Tensor]:
    return torch.compile(_on_a_chip)


def _can_fuse(weight: Tensor, chip: ChipConfig) -> bool:
    """Return whether the kernel serves: PCM in single pairs, on the CPU."""
    return (
        kernels.HAS_CPU_KERNELS
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.numel() > 0
        and not torch.compiler.is_compiling()
        and type(chip.device) is PCMDevice
        and len(chip.device.programming_polynomial()[0]) <= 3
        and chip.converter == SinglePair()
    )


def _fused(
    weight: Tensor, chip: ChipConfig, t_inference_s: float, generator: torch.Generator | None
) -> Tensor:
    """Return what :func:`_on_a_chip` does."""
    assert isinstance(chip.device, PCMDevice)
    seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))
    numbers = _numbers(chip.device, t_inference_s, float(weight.abs().max()), seed)
    aged, sums = kernels.hold_on_pcm(weight.contiguous(), numbers)
    if t_inference_s == 0 or chip.compensation == "none":
        return aged
    if chip.compensation == "exact":
        sums[:, 0] = weight.abs().sum(1)
    if chip.compensation != "column":
        sums = sums.sum(0, keepdim=True)
    return aged.mul_(sums[:, :1] / sums[:, 1:].clamp(min=1e-8))


def _numbers(
    device: PCMDevice, t_inference_s: float, w_max: float, seed: int
) -> "kernels.DeviceNumbers":
    coefficients_us, reference_us = device.programming_polynomial()
    c0, c1, c2 = (*coefficients_us, 0.0, 0.0, 0.0)[:3]
    relative = device.prog_noise_scale / reference_us
    growth = 0.0  # right after programming nothing is read
    if t_inference_s > 0:
        growth = accumulated_noise_growth(t_inference_s + device.t_0_s, device.t_read_s)
    growth *= device.read_noise_scale
    factor, power, floor, maximum = device.read_noise_law
    return kernels.DeviceNumbers(
        w_max=max(w_max, SMALLEST_MAXIMUM),
        programming=(c0 * relative, c1 * relative, c2 * relative),
        exponent=device.nu_mean_law,
        spread=device.nu_std_law,
        strength=(factor * growth, power, min(factor / floor, maximum) * growth),
        exponent_scale=device.drift_scale,
        spread_scale=device.drift_spread_scale,
        log_time=math.log1p(t_inference_s / device.t_0_s),
        k0=seed & 0xFFFFFFFF,
        k1=seed >> 32,
    )

"""Families of conductances: programming, drift, read noise, converters, clipping, remapping."""

from collections.abc import Callable, Iterator

import torch

from aimc_lightning.devices.base import Device
from aimc_lightning.devices.converters import DualPair, NPair, SinglePair
from aimc_lightning.devices.hermes import HermesDevice
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.devices.reram import ReRamCMO, ReRamWan2022
from aimc_lightning.functional.clipping import (
    channel_max_clip_bound,
    clip_weights,
    gaussian_clip_bound,
    remap_weights,
)
from aimc_lightning.functional.drift import conductance_after_drift
from tests.golden.compare import EXACT, OWN_DRAWS, Check, Moments, exact, mean_and_std, quantiles
from tests.golden.vector import UnknownSetting, Vector

_LEVELS = (0.05, 0.5, 0.95)


def pcm_prog(vector: Vector) -> Iterator[Check]:
    """Programming noise of PCM."""
    vector.expect("clamp_min", 0.0)
    device = _pcm(vector)
    draws = vector.integer("samples")
    target = _repeated(vector.tensor("g_target"), draws)
    programmed = device.program(target, generator=_generator())
    yield from mean_and_std("g", programmed, vector.array("g_mean"), vector.array("g_std"), draws)
    yield quantiles("g quantiles", programmed, vector.array("g_q05_q50_q95"), _LEVELS, draws)


def pcm_drift(vector: Vector) -> Iterator[Check]:
    """Drift exponents of PCM and the decay they cause."""
    device = _pcm(vector)
    draws = vector.integer("samples")
    target = _repeated(vector.tensor("g_target"), draws)
    nu = device.draw_drift(target, generator=_generator())
    yield from mean_and_std("nu", nu, vector.array("nu_mean"), vector.array("nu_std"), draws)
    yield quantiles("nu quantiles", nu, vector.array("nu_q05_q50_q95"), _LEVELS, draws)
    mean, std = vector.array("decay_mean"), vector.array("decay_std")
    for index, time_s in enumerate(vector.array("t_inference")):
        decay = conductance_after_drift(torch.ones_like(nu), nu, float(time_s), device.t_0_s)
        yield from mean_and_std(f"decay at {time_s:g} s", decay, mean[index], std[index], draws)


def pcm_read(vector: Vector) -> Iterator[Check]:
    """Accumulated 1/f noise of PCM without drift."""
    vector.expect("drift", "off")
    device = _pcm(vector)
    yield from _reads(vector, device, vector.tensor("g_prog"), "g_mean", "g_std")


def hermes(vector: Vector) -> Iterator[Check]:
    """Programming, exponents and read noise of the HERMES chip."""
    device = HermesDevice(
        num_devices=vector.integer("num_devices"),
        g_max_us=vector.number("g_max_uS"),
        t_0_s=vector.number("t_0_s"),
        t_read_s=vector.number("t_read_s"),
        prog_noise_scale=vector.number("prog_noise_scale", 1.0),
        drift_scale=vector.number("drift_scale", 1.0),
        read_noise_scale=vector.number("read_noise_scale", 1.0),
    )
    draws = vector.integer("samples")
    target = vector.tensor("g_target")
    many = _repeated(target, draws)
    programmed = device.program(many, generator=_generator())
    yield from mean_and_std(
        "g_prog", programmed, vector.array("g_prog_mean"), vector.array("g_prog_std"), draws
    )
    nu = device.draw_drift(many, generator=_generator())
    yield from mean_and_std("nu", nu, vector.array("nu_mean"), vector.array("nu_std"), draws)
    yield from _reads(vector, device, target, None, "read_std")


def reram_wan2022(vector: Vector) -> Iterator[Check]:
    """Spread around the target at the times with data."""
    device = ReRamWan2022(
        g_max_us=vector.number("g_max_uS"), noise_scale=vector.number("noise_scale", 1.0)
    )
    yield from _reads(vector, device, vector.tensor("g_target"), "g_mean", "g_std")


def reram_cmo(vector: Vector) -> Iterator[Check]:
    """Programming, relaxation and read noise of CMO/HfOx."""
    device = ReRamCMO(
        g_max_us=vector.number("g_max_uS"),
        g_min_us=vector.number("g_min_uS"),
        acceptance_percent=vector.number("acceptance_range_percent"),
        prog_noise_scale=vector.number("prog_noise_scale", 1.0),
        drift_scale=vector.number("drift_scale", 1.0),
        read_noise_scale=vector.number("read_noise_scale", 1.0),
    )
    draws = vector.integer("samples")
    target = vector.tensor("g_target")
    programmed = device.program(_repeated(target, draws), generator=_generator())
    yield from mean_and_std(
        "g_prog", programmed, vector.array("g_prog_mean"), vector.array("g_prog_std"), draws
    )
    yield from _reads(vector, device, target, "g_mean", "g_std")


def conductance(vector: Vector) -> Iterator[Check]:
    """Weights to conductances and back; all four kinds of pairs."""
    vector.expect("order", "g_plus,g_minus per pair, least significant first")
    factors = vector.numbers("f_lst")
    g_min_us, g_max_us = vector.number("g_min_uS"), vector.number("g_max_uS")
    kind = {1: SinglePair, 2: DualPair}.get(len(factors), NPair)
    options = {} if kind is SinglePair and factors == (1.0,) else {"factors": factors}
    converter = (NPair if options and kind is SinglePair else kind)(g_min_us=g_min_us, **options)
    conductances, scale = converter.to_conductances(vector.tensor("w"), g_max_us)
    yield exact("g", torch.stack(conductances), vector.array("g"))
    yield exact("scale_ratio", scale, vector.array("scale_ratio"))
    back = converter.to_weights(conductances, scale, g_max_us)
    yield exact("w_back", back, vector.array("w_back"))


def weight_clip(vector: Vector) -> Iterator[Check]:
    """The three kinds of clipping."""
    kind = vector.text("type")
    fixed = vector.number("fixed_value", -1.0)
    cap = fixed if fixed > 0 else None
    weight = vector.tensor("w")
    if kind == "FIXED_VALUE":
        clipped = clip_weights(weight, fixed)
    elif kind == "LAYER_GAUSSIAN":
        bound = gaussian_clip_bound(weight, vector.number("sigma", 2.5), cap)
        clipped = clip_weights(weight, bound)
    elif kind == "AVERAGE_CHANNEL_MAX":
        clipped = clip_weights(weight, channel_max_clip_bound(weight, cap))
    elif kind in ("NONE", "None"):
        clipped = weight
    else:
        raise UnknownSetting(f"type is {kind!r}")
    # The golden bound is a float32 sum of all weights one after another, which is good to 1e-6 for
    # up to about a thousand of them.
    allowed = EXACT * max(1.0, (weight.numel() / 1000) ** 0.5)
    yield exact("w_clipped", clipped, vector.array("w_clipped"), allowed)


def weight_remap(vector: Vector) -> Iterator[Check]:
    """Remapping per output or per tile."""
    kind = vector.text("type")
    if kind not in ("CHANNELWISE_SYMMETRIC", "LAYERWISE_SYMMETRIC"):
        raise UnknownSetting(f"type is {kind!r}")
    weight, scales = remap_weights(
        vector.tensor("w"),
        vector.tensor("scales_before"),
        columnwise=kind == "CHANNELWISE_SYMMETRIC",
        w_max=vector.number("remapped_wmax", 1.0),
    )
    yield exact("w_remapped", weight, vector.array("w_remapped"))
    yield exact("scales_after", scales, vector.array("scales_after"))


def _pcm(vector: Vector) -> PCMDevice:
    own = "prog_coeff" in vector
    reference = "prog_coeff_g_max_reference" in vector
    return PCMDevice(
        g_max_us=vector.number("g_max_uS"),
        prog_noise_scale=vector.number("prog_noise_scale", 1.0),
        prog_coeff=vector.numbers("prog_coeff") if own else None,
        prog_coeff_g_max_us=vector.number("prog_coeff_g_max_reference") if reference else None,
        drift_scale=vector.number("drift_scale", 1.0),
        read_noise_scale=vector.number("read_noise_scale", 1.0),
        t_0_s=vector.number("t_0_s", 20.0),
        t_read_s=vector.number("t_read_s", 250e-9),
    )


def _reads(
    vector: Vector, device: Device, g_us: torch.Tensor, mean_key: str | None, std_key: str
) -> Iterator[Check]:
    """Read devices that do not drift (all exponents 0) at each time."""
    draws = vector.integer("samples")
    many = _repeated(g_us, draws)
    nu = torch.zeros_like(many)
    std = vector.array(std_key)
    for index, time_s in enumerate(vector.array("t_inference")):
        read = device.read(many, nu, many, float(time_s), generator=_generator(index))
        moments = Moments.of(read.double().numpy())
        label = f"g at {time_s:g} s"
        if mean_key is not None:
            yield moments.mean_check(f"{label} mean", vector.array(mean_key)[index], draws)
        yield moments.std_check(f"{label} std", std[index], draws)


def _repeated(values: torch.Tensor, draws: int) -> torch.Tensor:
    return values.expand(max(draws, OWN_DRAWS), *values.shape).clone()


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


DEVICE_FAMILIES: dict[str, Callable[[Vector], Iterator[Check]]] = {
    "pcm_prog": pcm_prog,
    "pcm_drift": pcm_drift,
    "pcm_read": pcm_read,
    "hermes": hermes,
    "reram_wan2022": reram_wan2022,
    "reram_cmo": reram_cmo,
    "conductance_single": conductance,
    "conductance_single_gmin": conductance,
    "conductance_dual": conductance,
    "conductance_npair": conductance,
    "weight_clip": weight_clip,
    "weight_remap": weight_remap,
}

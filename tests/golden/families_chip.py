"""Families of one programmed crossbar: the chain through weights, and drift compensation."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.forward_config import ADCConfig, DACConfig
from aimc_lightning.presets import get_preset
from aimc_lightning.tile_config import ChipConfig, MappingConfig
from aimc_lightning.tiles.periphery import build_periphery
from aimc_lightning.tiles.programmed import ProgrammedTile
from tests.golden.compare import Check, Moments, exact, standard_errors
from tests.golden.vector import UnknownSetting, Vector

_GDC_CHIPS = 200
_WEIGHT_CHIPS = 1500


def pcm_weights(vector: Vector) -> Iterator[Check]:
    """Weights after programming and after drift, as the reference converts them back and forth."""
    device = PCMDevice(g_max_us=vector.number("g_max_uS"))
    chip = ChipConfig(device=device, chain="collapsed", compensation="none")
    # One scale for the matrix: the golden file holds weights of the tile, not of a layer.
    mapping = MappingConfig(weight_scaling="tile")
    config = get_preset("ideal").with_values({"chip": chip, "mapping": mapping})
    repeats = vector.integer("repeats")
    times = vector.array("t_inference")
    weight = vector.tensor("w")
    samples = torch.stack([_aged(weight, config, times, seed) for seed in range(_WEIGHT_CHIPS)])
    mean, std, rms = vector.array("w_mean"), vector.array("w_std"), vector.array("rms_error")
    for index, time_s in enumerate(times):
        moments = Moments.of(samples[:, index].double().numpy())
        yield from moments.checks(f"w at {time_s:g} s", mean[index], std[index], repeats)
        square = (samples[:, index].double() - weight.double()).square().mean(dim=(1, 2)).numpy()
        error = square.std(ddof=1) * np.sqrt(1 / repeats + 1 / len(square))
        deviation = abs(square.mean() - rms[index] ** 2) / error
        label = f"rms error at {time_s:g} s [standard errors]"
        yield Check(label, float(deviation), standard_errors(len(times)))


def _aged(weight: torch.Tensor, config: TileConfig, times: np.ndarray, seed: int) -> torch.Tensor:
    chip, generator = _chip(weight, config, seed)
    states = []
    for time_s in times:
        chip.set_time_(float(time_s), generator)
        states.append(chip.weights.weight * chip.mapping_scale[:, None])
    return torch.stack(states)


def gdc(vector: Vector) -> Iterator[Check]:
    """Global drift compensation: once with every draw at its mean, once as statistics."""
    vector.expect(
        "deterministic_part",
        "all Gaussian draws set to 0 (nu = its mean, no programming or read noise)",
    )
    config, step = _gdc_config(vector)
    weight = vector.tensor("w_logical")
    if tuple(weight.shape) != (vector.integer("out_size"), vector.integer("in_size")):
        raise UnknownSetting(f"w_logical has shape {tuple(weight.shape)}")
    g_max_us = vector.number("g_max_uS")
    still = PCMDevice(
        g_max_us=g_max_us, prog_noise_scale=0.0, read_noise_scale=0.0, drift_spread_scale=0.0
    )
    times = vector.array("t_inference")
    chip, generator = _chip(weight, _with_device(config, still), seed=0)
    yield exact("mapping_scales", chip.mapping_scale, vector.array("mapping_scales"))
    normalized = weight / chip.mapping_scale[:, None]
    yield exact("w_tile", normalized, vector.array("w_tile"))
    yield exact("w_programmed", chip.weights.weight, vector.array("w_programmed"))
    baseline = vector.array("readout_baseline")
    assert chip.baselines[0] is not None
    # One converter step in 0.1 % of the outputs moves the mean by that much.
    allowed = 1e-6 + 1e-3 * step / float(baseline)
    yield exact("readout_baseline", chip.baselines[0].reshape(()), baseline, allowed)
    drifted, factors = vector.array("w_drifted"), vector.array("alpha")
    for index, time_s in enumerate(times):
        chip.set_time_(float(time_s), generator)
        yield exact(f"w at {time_s:g} s", chip.weights.weight, drifted[index])
        factor = chip.compensation[0]
        share = 1e-6 + 1e-3 * step * factors[index] / float(baseline)
        yield exact(f"alpha at {time_s:g} s", factor, factors[index], share)
    yield _noisy_factors(vector, _with_device(config, PCMDevice(g_max_us=g_max_us)), times)


def _noisy_factors(vector: Vector, config: TileConfig, times: np.ndarray) -> Check:
    weight = vector.tensor("w_logical")
    match = re.match(r"(\d+) programming repeats", vector.text("statistics"))
    if match is None:
        raise UnknownSetting(f"statistics is {vector.text('statistics')!r}")
    programmings = int(match[1])
    samples = []
    for seed in range(_GDC_CHIPS):
        chip, generator = _chip(weight, config, seed)
        row = []
        for time_s in times:
            chip.set_time_(float(time_s), generator)
            row.append(float(chip.compensation[0]))
        samples.append(row)
    mean, std = vector.array("alpha_mean_noisy"), vector.array("alpha_std_noisy")
    checks = Moments.of(np.array(samples)).checks("alpha", mean, std, programmings)
    return max(checks, key=lambda check: check.ratio)


def _gdc_config(vector: Vector) -> tuple[TileConfig, float]:
    """Return the config and the size of an ADC step (0 without ADC)."""
    forward = vector.text("forward")
    ideal = get_preset("ideal")
    if forward == "perfect":
        return ideal, 0.0
    match = re.fullmatch(r"(\d+) bit DAC/ADC, out_bound ([\d.]+)", forward)
    if match is None:
        raise UnknownSetting(f"forward is {forward!r}")
    bits, bound = int(match[1]), float(match[2])
    dac, adc = DACConfig(bits=bits), ADCConfig(bits=bits, bound=bound)
    return ideal.with_values({"dac": dac, "adc": adc}), 2 * bound / (adc.steps or 1)


def _with_device(config: TileConfig, device: PCMDevice) -> TileConfig:
    chip = ChipConfig(device=device, chain="collapsed", compensation="global")
    return config.with_values({"chip": chip})


def _chip(
    weight: torch.Tensor, config: TileConfig, seed: int
) -> tuple[ProgrammedTile, torch.Generator]:
    generator = torch.Generator().manual_seed(7_000 + seed)
    periphery = build_periphery(config)
    return ProgrammedTile(weight, periphery, config, [len(weight)], generator), generator


CHIP_FAMILIES: dict[str, Callable[[Vector], Iterator[Check]]] = {
    "pcm_weights": pcm_weights,
    "gdc": gdc,
}

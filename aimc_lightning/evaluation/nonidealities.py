"""The nonidealities that a sensitivity study raises, one at a time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.devices.faulty import FaultyDevice
from aimc_lightning.devices.power_law import PowerLawDevice
from aimc_lightning.nn.base import analog_arrays, analog_layers
from aimc_lightning.tiles.array import TileArray


@dataclass(frozen=True)
class Nonideality:
    """One effect and how it is raised.

    Attributes:
        name: Its name.
        acts_on: ``"signal"`` (inputs, outputs) or ``"weight"``.
        first: First step above the standard amount; it is doubled until the limit is passed.
        largest: Largest amount that is tried.
        standard: Returns the amount that a config has, or ``None`` if the effect does not exist
            there (a converter without resolution, a device of another kind).
        apply: Returns a config with the amount.
        whole: Whether only whole amounts exist (bits removed from a converter).
    """

    name: str
    acts_on: str
    first: float
    largest: float
    standard: Callable[[TileConfig], float | None]
    apply: Callable[[TileConfig, float], TileConfig]
    whole: bool = False


def _field(name: str, acts_on: str, path: str, first: float, largest: float) -> Nonideality:
    part, field = path.split(".")
    return Nonideality(
        name, acts_on, first, largest,
        lambda config: getattr(getattr(config, part), field),
        lambda config, amount: config.with_values({path: amount}),
    )  # fmt: skip


def _bits(name: str, part: str) -> Nonideality:
    """Bits removed; two are the fewest that a converter has."""

    def standard(config: TileConfig) -> float | None:
        return None if getattr(config, part).bits is None else 0

    def apply(config: TileConfig, removed: float) -> TileConfig:
        bits = max(getattr(config, part).bits - int(removed), 2)
        return config.with_values({f"{part}.bits": bits})

    return Nonideality(name, "signal", 1, 6, standard, apply, whole=True)


def _device(config: TileConfig) -> tuple[Any, str]:
    """Return the healthy device and its dotted name."""
    device = config.chip.device
    if isinstance(device, FaultyDevice):
        return device.device, "chip.device.device"
    return device, "chip.device"


def _scale(name: str, field: str, largest: float) -> Nonideality:
    def standard(config: TileConfig) -> float | None:
        device = _device(config)[0]
        return getattr(device, field) if isinstance(device, PowerLawDevice) else None

    def apply(config: TileConfig, amount: float) -> TileConfig:
        device, path = _device(config)
        values = {f"{path}.{field}": amount}
        if field == "drift_scale" and amount > 0 and device.drift_scale > 0:
            # drift_scale acts on mean and spread of the exponents; the spread shall stay.
            spread = device.drift_spread_scale * device.drift_scale / amount
            values[f"{path}.drift_spread_scale"] = spread
        return config.with_values(values)

    return Nonideality(name, "weight", 1, largest, standard, apply)


def _stuck(name: str, field: str, first: float) -> Nonideality:
    def standard(config: TileConfig) -> float | None:
        device = config.chip.device
        return getattr(device, field) if isinstance(device, FaultyDevice) else 0

    def apply(config: TileConfig, amount: float) -> TileConfig:
        device = config.chip.device
        faulty = device if isinstance(device, FaultyDevice) else FaultyDevice(device=device)
        others = faulty.p_zero + faulty.p_g_max + faulty.p_random - getattr(faulty, field)
        value = min(amount, 1 - others)
        return config.with_values({"chip.device": replace(faulty, **{field: value})})

    return Nonideality(name, "weight", first, 1, standard, apply)


#: All effects of the study, by name; amounts of converters are bits removed.
NONIDEALITIES: dict[str, Nonideality] = {
    effect.name: effect
    for effect in (
        _bits("dac_bits", "dac"),
        _bits("adc_bits", "adc"),
        _field("input_noise", "signal", "noise.input_std", 0.01, 2),
        _field("output_noise", "signal", "noise.output_std", 0.04, 5),
        _field("s_shape", "signal", "distortion.out_nonlinearity", 0.1, 50),
        _field("input_asymmetry", "signal", "dac.asymmetry", 0.05, 1),
        _field("output_asymmetry", "signal", "adc.asymmetry", 0.05, 1),
        _field("voltage_offset", "signal", "distortion.v_offset_std", 0.005, 1),
        _field("polarity", "weight", "distortion.polarity_std", 0.05, 5),
        _field("ir_drop", "weight", "ir_drop.scale", 1, 100),
        _field("short_read_noise", "weight", "noise.read_std", 0.0175, 2),
        _scale("read_noise", "read_noise_scale", 50),
        _scale("programming_noise", "prog_noise_scale", 50),
        _scale("drift", "drift_scale", 20),
        _scale("drift_spread", "drift_spread_scale", 50),
        _stuck("stuck_zero", "p_zero", 0.005),
        _stuck("stuck_g_max", "p_g_max", 0.001),
        _stuck("stuck_random", "p_random", 0.001),
    )
}


def standard_amount(effect: Nonideality, model: nn.Module) -> float | None:
    """Return the amount of an effect in all analog layers; ``None`` if they differ or lack it.

    Args:
        effect: A nonideality.
        model: Model with analog layers.
    """
    amounts = {effect.standard(array.config) for array in _arrays(model)}
    return amounts.pop() if len(amounts) == 1 else None


@contextmanager
def changed_config(model: nn.Module, change: Callable[[TileConfig], TileConfig]) -> Iterator[None]:
    """Give all analog layers another config for a while; trained values stay as they are.

    Args:
        model: Model with analog layers.
        change: Returns the new config from a layer's own.
    """
    with new_configs({array: change(array.config) for array in _arrays(model)}):
        yield


@contextmanager
def new_configs(configs: Mapping[TileArray, TileConfig]) -> Iterator[None]:
    """Give arrays of tiles another config for a while; trained values stay as they are.

    Args:
        configs: The new configs.
    """
    kept = {array: array.config for array in configs}
    try:
        for array, config in configs.items():
            array.set_config_(config)
        yield
    finally:
        for array, config in kept.items():
            array.set_config_(config)


def _arrays(model: nn.Module) -> list[TileArray]:
    layers = analog_layers(model).values()
    return [array for layer in layers for array, _ in analog_arrays(layer).values()]

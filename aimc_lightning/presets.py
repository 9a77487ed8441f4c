"""Named tile settings, each with its source."""

import difflib
from collections.abc import Callable

from aimc_lightning.config import TileConfig
from aimc_lightning.devices.converters import SingleDevice
from aimc_lightning.devices.hermes import HermesDevice
from aimc_lightning.devices.reram import ReRamCMO, ReRamWan2022
from aimc_lightning.devices.simple import IdealDevice, StateIndependentDevice
from aimc_lightning.forward_config import (
    ADCConfig,
    DACConfig,
    ForwardNoiseConfig,
    InputRangeConfig,
    IRDropConfig,
)
from aimc_lightning.tile_config import ChipConfig, MappingConfig, WeightNoiseConfig


def _standard_pcm() -> TileConfig:
    """Standard model of Rasch et al. 2023 (IBM/aihwkit, ``StandardHWATrainingPreset``) on PCM."""
    return TileConfig()


def _ideal() -> TileConfig:
    """Every effect off: the layer equals its digital counterpart bit for bit."""
    return TileConfig(
        dac=DACConfig(bits=None),
        adc=ADCConfig(bits=None, bound=None),
        input_range=InputRangeConfig(mode="off"),
        noise=ForwardNoiseConfig(output_std=0.0, read_std=0.0),
        ir_drop=IRDropConfig(scale=0.0),
        mapping=MappingConfig(max_inputs=0, max_outputs=0, learn_out_scale=None),
        weight_noise=WeightNoiseConfig(type="none", std=0.0),
        chip=ChipConfig(device=IdealDevice(), compensation="none"),
    )


def _aihwkit_pcm() -> TileConfig:
    """The standard model cut, programmed and started as in IBM/aihwkit (``InferenceTile``)."""
    return TileConfig(
        input_range=InputRangeConfig(init_rule="std", decay=0.001),
        mapping=MappingConfig(max_outputs=0, conv_split="unfold"),
        weight_noise=WeightNoiseConfig(type="none", std=0.0),
        chip=ChipConfig(chain="collapsed"),
    )


def _ideal_converters() -> TileConfig:
    """The standard model without quantisation, clipping of outputs and output noise."""
    return TileConfig(
        dac=DACConfig(bits=None),
        adc=ADCConfig(bits=None, bound=None),
        noise=ForwardNoiseConfig(output_std=0.0),
    )


def _ideal_devices() -> TileConfig:
    """The standard periphery around devices without noise and drift."""
    return TileConfig(chip=ChipConfig(device=IdealDevice()))


def _hermes_1() -> TileConfig:
    """Hermes chip, one device per polarity (IBM/aihwkit, ``inference/noise/hermes.py``)."""
    return TileConfig(chip=ChipConfig(device=HermesDevice(num_devices=1)))


def _hermes_2() -> TileConfig:
    """Hermes chip, two devices per polarity (IBM/aihwkit, ``inference/noise/hermes.py``)."""
    return TileConfig(chip=ChipConfig(device=HermesDevice(num_devices=2)))


def _reram_wan2022() -> TileConfig:
    """ReRAM of Wan et al. 2022; data at 1 s, 1 day and 2 days only."""
    return TileConfig(chip=ChipConfig(device=ReRamWan2022(), compensation="none"))


def _reram_cmo() -> TileConfig:
    """CMO/HfOx ReRAM, one bidirectional device per weight."""
    return TileConfig(chip=ChipConfig(device=ReRamCMO(), converter=SingleDevice()))


def _state_independent() -> TileConfig:
    """Devices whose noise and drift do not depend on the conductance."""
    return TileConfig(chip=ChipConfig(device=StateIndependentDevice()))


_PRESETS: dict[str, Callable[[], TileConfig]] = {
    "standard_pcm": _standard_pcm,
    "aihwkit_pcm": _aihwkit_pcm,
    "hermes_1": _hermes_1,
    "hermes_2": _hermes_2,
    "ideal": _ideal,
    "ideal_converters": _ideal_converters,
    "ideal_devices": _ideal_devices,
    "reram_cmo": _reram_cmo,
    "reram_wan2022": _reram_wan2022,
    "state_independent": _state_independent,
}


def list_presets() -> list[str]:
    """Return the names of all presets.

    Example:
        >>> "standard_pcm" in list_presets()
        True
    """
    return sorted(_PRESETS)


def get_preset(name: str) -> TileConfig:
    """Return the settings of a preset.

    Args:
        name: One of :func:`list_presets`.

    Raises:
        ValueError: If the name is unknown; the message lists the known ones.

    Example:
        >>> get_preset("standard_pcm").adc.bits
        8
    """
    if name not in _PRESETS:
        close = difflib.get_close_matches(str(name), _PRESETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"Unknown preset {name!r}; known: {', '.join(list_presets())}.{hint}")
    return _PRESETS[name]()

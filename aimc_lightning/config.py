"""All settings of a tile in one frozen dataclass, and its versioned dictionary form.

The defaults are the standard model of Rasch et al., Nature Communications 14, 5282 (2023), as in
IBM/aihwkit, ``src/aihwkit/simulator/presets/inference.py``, ``StandardHWATrainingPreset``.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from aimc_lightning.devices.base import Device, device_from_dict
from aimc_lightning.devices.converter_base import ConductanceConverter, converter_from_dict
from aimc_lightning.forward_config import (
    ADCConfig,
    DACConfig,
    DistortionConfig,
    ForwardNoiseConfig,
    InputRangeConfig,
    IRDropConfig,
)
from aimc_lightning.tile_config import ChipConfig, ClipConfig, MappingConfig, WeightNoiseConfig

FORMAT_VERSION = 1


@dataclass(frozen=True)
class TileConfig:
    """Everything about a tile; ``TileConfig()`` is the preset ``standard_pcm``.

    Example:
        >>> config = TileConfig(adc=ADCConfig(bits=6))
        >>> config.with_values({"dac.bits": 4}).dac.bits
        4
    """

    dac: DACConfig = field(default_factory=DACConfig)
    adc: ADCConfig = field(default_factory=ADCConfig)
    input_range: InputRangeConfig = field(default_factory=InputRangeConfig)
    noise: ForwardNoiseConfig = field(default_factory=ForwardNoiseConfig)
    ir_drop: IRDropConfig = field(default_factory=IRDropConfig)
    distortion: DistortionConfig = field(default_factory=DistortionConfig)
    mapping: MappingConfig = field(default_factory=MappingConfig)
    weight_noise: WeightNoiseConfig = field(default_factory=WeightNoiseConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    chip: ChipConfig = None  # type: ignore[assignment]  # a chip once built, as its fields

    def __post_init__(self) -> None:
        """Fill in the chip and check the fields."""
        if self.chip is None:
            object.__setattr__(self, "chip", ChipConfig())
        hints = get_type_hints(type(self))
        for name, kind in hints.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"TileConfig.{name} must be a {kind.__name__}, got {getattr(self, name)!r}."
                )
        if self.clip.type and (self.clip.value or self.mapping.omega) < self.mapping.omega:
            # Each step finds the scale anew, so the largest weight is back at omega each time.
            raise ValueError(
                f"ClipConfig.value is {self.clip.value}, below MappingConfig.omega = "
                f"{self.mapping.omega}, the normalised weight of the largest weight: every step "
                "would shrink the weights again, without end. Clip with type='gaussian' and "
                "value=None, or lower mapping.omega to use less of the conductance range."
            )
        ranges = self.input_range
        if self.mapping.split_outliers and (ranges.mode != "learned" or ranges.init_batches == 0):
            raise ValueError(
                "MappingConfig.split_outliers chooses outliers by the batches from which a learned "
                f"input range is set, and input_range has mode {ranges.mode!r} and init_batches = "
                f"{ranges.init_batches}; set 'learned' and at least 1."
            )
        if self.distortion.out_nonlinearity > 0 and self.adc.bound is None:
            raise ValueError(
                f"DistortionConfig.out_nonlinearity is {self.distortion.out_nonlinearity} per "
                "full scale, but ADCConfig.bound is None; set a bound."
            )
        if self.weight_noise.type == "device":
            self.chip.device.check_time(self.weight_noise.t_inference_s)
        worst = self.input_range.noise_management == "abs_max_np_sum"
        if (worst or self.input_range.bound_management != "none") and self.adc.bound is None:
            raise ValueError(
                "InputRangeConfig: this noise or bound management needs ADCConfig.bound, which is "
                "None; set a bound."
            )

    def with_values(self, values: Mapping[str, Any]) -> "TileConfig":
        """Return a copy with fields replaced by dotted name.

        Args:
            values: For example ``{"adc.bits": 6, "chip.device.drift_scale": 2.0}``.

        Raises:
            ValueError: If a name does not exist; the message lists those that do.
        """
        return _replaced(self, values)

    def as_measured(self) -> "TileConfig":
        """Return a copy in which all that acts in training alone has its default.

        That is the noise and clipping of the weights, and how learned input ranges are found.
        """
        ranges = ("init_rule", "init_times_s", "init_batches", "init_std_alpha", "decay")
        defaults = InputRangeConfig()
        learned = {name: getattr(defaults, name) for name in (*ranges, "min_percentage")}
        return dataclasses.replace(
            self,
            weight_noise=WeightNoiseConfig(),
            clip=ClipConfig(),
            input_range=dataclasses.replace(self.input_range, **learned),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types with a format version."""
        return {"format_version": FORMAT_VERSION, **_plain(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TileConfig":
        """Build a config from :meth:`to_dict`; missing fields take their defaults.

        Raises:
            ValueError: If the format is newer than this library, or a field is unknown.
        """
        version = data.get("format_version", FORMAT_VERSION)
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise ValueError(
                f"The config has format version {version!r}, this library reads up to "
                f"{FORMAT_VERSION}; update aimc_lightning."
            )
        return _build(cls, {k: v for k, v in data.items() if k != "format_version"})


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Device | ConductanceConverter):
        return value.to_dict()
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _build(cls: type, data: Mapping[str, Any]) -> Any:  # noqa: ANN401
    hints = get_type_hints(cls)
    names = [item.name for item in dataclasses.fields(cls)]
    unknown = sorted(set(data) - set(names))
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no field {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(names)}."
        )
    values = {}
    for name, value in data.items():
        kind = hints[name]
        if kind is Device and isinstance(value, Mapping):
            value = device_from_dict(value)
        elif kind is ConductanceConverter and isinstance(value, Mapping):
            value = converter_from_dict(value)
        elif dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            value = _build(kind, value)  # type: ignore[arg-type]
        values[name] = value
    return cls(**values)


def _replaced(owner: Any, values: Mapping[str, Any], prefix: str = "") -> Any:  # noqa: ANN401
    """Return a copy with all values set at once, so that rules see the finished settings."""
    fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ()
    names = [item.name for item in fields]
    changes: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        if name not in names:
            raise ValueError(
                f"{prefix + path!r}: {type(owner).__name__} has no field {name!r}; it has "
                f"{', '.join(names) or 'none'}."
            )
        if rest:
            below.setdefault(name, {})[rest] = value
        else:
            changes[name] = value
    for name, nested in below.items():
        inner = changes.get(name, getattr(owner, name))
        changes[name] = _replaced(inner, nested, f"{prefix}{name}.")
    return dataclasses.replace(owner, **changes)

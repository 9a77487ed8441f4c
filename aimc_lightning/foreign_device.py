"""Fields of foreign settings by name, and memory devices of aihwkit as ours."""

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

from aimc_lightning.devices.base import Device
from aimc_lightning.devices.converter_base import ConductanceConverter
from aimc_lightning.devices.converters import (
    CustomPair,
    DualPair,
    NPair,
    SingleDevice,
    SinglePair,
)
from aimc_lightning.devices.hermes import HermesDevice
from aimc_lightning.devices.pcm import CustomDriftDevice, PCMDevice
from aimc_lightning.devices.reram import ReRamCMO, ReRamWan2022
from aimc_lightning.devices.simple import StateIndependentDevice

_LAW = {
    "g_max": "g_max_us", "prog_noise_scale": "prog_noise_scale",
    "read_noise_scale": "read_noise_scale", "drift_scale": "drift_scale", "t_0": "t_0_s",
    "t_read": "t_read_s",
}  # fmt: skip
#: Polynomials that our devices have built in; they are not handed over.
_FITTED = (
    [0.26348, 1.9650, -1.1731],
    [0.16603222, 4.71806468, -8.48101252, 4.68961419],
    [0.15781817, 2.32443916, -2.16310839, 0.68841818],
    [0.2, 0.0, 0.0],
)


class Fields:
    """Fields of an object or a mapping, which remembers those that were asked for.

    Args:
        source: Object with attributes, mapping, or ``None`` for a section that is not there.
        path: Dotted name of the section, for notes.
        notes: List to which notes are added.

    Example:
        >>> fields = Fields({"a": 1, "b": 2}, "forward", notes := [])
        >>> fields.get("a", 0)
        1
        >>> fields.finish({})
        >>> notes
        ['forward.b = 2 has no counterpart and is left out.']
    """

    def __init__(self, source: Any, path: str, notes: list[str]) -> None:  # noqa: ANN401
        self.kind = type(source).__name__
        if isinstance(source, Mapping):
            self._values = dict(source)
            self.kind = self._values.pop("class", "")
        elif dataclasses.is_dataclass(source):
            self._values = {f.name: getattr(source, f.name) for f in dataclasses.fields(source)}
        else:
            self._values = dict(getattr(source, "__dict__", {}))
        self.path, self.notes = path, notes
        self._asked: set[str] = set()

    def names(self) -> set[str]:
        """Return the names of the fields."""
        return set(self._values)

    def get(self, name: str, default: Any) -> Any:  # noqa: ANN401
        """Return a value, of enumerations their text."""
        self._asked.add(name)
        value = self._values.get(name, default)
        return value.value if isinstance(value, Enum) else value

    def choice(self, name: str, known: Mapping[str, Any], default: str) -> Any:  # noqa: ANN401
        """Return our word for one of theirs; that of the default, with a note, if there is none."""
        value = self.get(name, default)
        if value not in known:
            self.notes.append(f"{self.path}.{name} = {value} has no counterpart and is left out.")
        return known.get(value, known[default])

    def section(self, name: str) -> "Fields":
        """Return the fields of an inner section; none if it is not there."""
        self._asked.add(name)
        return Fields(self._values.get(name), f"{self.path}.{name}".lstrip("."), self.notes)

    def finish(self, neutral: Mapping[str, Any], silent: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Note every field that was not asked for, unless it has a value without effect."""
        for name in sorted(self.names() - self._asked - silent):
            value = self.get(name, None)
            if name not in neutral or value != neutral[name]:
                self.notes.append(
                    f"{self.path}.{name} = {value} has no counterpart and is left out."
                )


def translate_device(top: Fields, notes: list[str]) -> dict[str, Any]:
    """Return device, converter and compensation as dotted fields of ``TileConfig``.

    Args:
        top: Fields of the whole settings, with ``noise_model`` and ``drift_compensation``.
        notes: List to which notes are added.
    """
    if "noise_model" not in top.names():
        notes.append("No noise_model is given: chips are programmed with the standard PCM.")
        return {}
    model = top.section("noise_model")
    converter = _converter(model.section("g_converter"), notes)
    device = _device(model, notes)
    compensation = top.section("drift_compensation").kind
    known = {"NoneType": "none", "GlobalDriftCompensation": "global"}
    if compensation not in known:
        notes.append(f"drift_compensation {compensation} is not known; the global one is used.")
    return {
        "chip.device": device,
        "chip.converter": converter,
        "chip.compensation": known.get(compensation, "global"),
    }


def _device(model: Fields, notes: list[str]) -> Device:
    # In aihwkit the converter knows the largest conductance, and the model repeats it.
    values = {ours: model.get(t, None) for t, ours in _LAW.items() if t in model.names()}
    coefficients = model.get("prog_coeff", None)
    own = {}
    if coefficients is not None and list(coefficients) not in _FITTED:
        reference = model.get("prog_coeff_g_max_reference", None)
        own = {"prog_coeff": tuple(coefficients), "prog_coeff_g_max_us": reference}
    if model.kind == "CustomDriftPCMLikeNoiseModel":
        table = model.section("custom_drift_model")
        return CustomDriftDevice(
            **values, **own,
            g_table_us=table.get("g_lst", ()),
            nu_mean_table=table.get("nu_mean_lst", ()),
            nu_std_table=table.get("nu_std_lst", ()),
        )  # fmt: skip
    if model.kind == "HermesNoiseModel":
        return HermesDevice(num_devices=model.get("num_devices", 2), **values, **own)
    if model.kind == "StateIndependentNoiseModel":
        nu = {f"nu_{part}": model.get(f"drift_nu_{part}", None) for part in ("mean", "std")}
        return StateIndependentDevice(**values, **own, **nu)
    if model.kind in ("ReRamWan2022NoiseModel", "ReRamCMONoiseModel"):
        notes.append(f"noise_model {model.kind}: coefficients are the fitted ones, no own tables.")
    if model.kind == "ReRamWan2022NoiseModel":
        return ReRamWan2022(g_max_us=values["g_max_us"], noise_scale=model.get("noise_scale", 1.0))
    if model.kind == "ReRamCMONoiseModel":
        scales = {name: value for name, value in values.items() if name.endswith("_scale")}
        low, high = model.get("g_min", 9.0), values["g_max_us"]
        # Its default of 0.02 is no key of its own table, and falls back to 0.2 percent.
        percent = 2.0 if model.get("acceptance_range", 0.02) == 2 else 0.2
        return ReRamCMO(g_max_us=high, g_min_us=low, acceptance_percent=percent, **scales)
    if model.kind != "PCMLikeNoiseModel":
        notes.append(f"noise_model {model.kind} is not known; the standard PCM is used.")
        return PCMDevice()
    return PCMDevice(**values, **own)


def _converter(their: Fields, notes: list[str]) -> ConductanceConverter:
    low, factors = their.get("g_min", 0.0), tuple(their.get("f_lst", ()))
    if their.kind == "SingleDeviceConductanceConverter":
        return SingleDevice(g_min_us=low)
    if their.kind == "CustomPairConductanceConverter":
        return CustomPair(tables_us=tuple(map(tuple, their.get("g_lst", ()))), factors=factors)
    if their.kind == "DualPairConductanceConverter":
        return DualPair(factors=factors, g_min_us=low)
    if their.kind == "NPairConductanceConverter":
        return NPair(factors=factors, g_min_us=low)
    if their.kind not in ("SinglePairConductanceConverter", "NoneType"):
        notes.append(f"g_converter {their.kind} is not known; a single pair is used.")
    return SinglePair(g_min_us=low)

"""Every field of the settings is reached from flags and from YAML as Lightning parses them."""

import dataclasses
from typing import Literal, get_args, get_origin, get_type_hints

import jsonargparse
import pytest
import yaml
from lightning.pytorch import Callback

from aimc_lightning.config import TileConfig
from aimc_lightning.devices import HermesDevice, NPair
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.distillation import Distillation
from aimc_lightning.integration.schedule import NoiseSchedule
from aimc_lightning.integration.validation import Validation

SECTIONS = {f"config.{name}": kind for name, kind in get_type_hints(TileConfig).items()} | {
    "schedule": NoiseSchedule, "validation": Validation, "distillation": Distillation,
}  # fmt: skip
#: Where a value that differs from the default does not follow from the type.
VALUES = {
    "config.chip.device": HermesDevice(),
    "config.chip.converter": NPair(),
    "config.weight_noise.coefficients": (0.5, 0.25),
    "config.input_range.init_times_s": (0.0, 3600.0),
    "validation.on": "1d",
    "distillation.module": "network",
}


def _other_value(section, kind, item):
    """Return a value of a field that the class accepts and that is not the default."""
    if (name := f"{section}.{item.name}") in VALUES:
        return VALUES[name]
    hint = get_type_hints(kind)[item.name]
    kinds = [hint] if get_origin(hint) in (None, Literal) else get_args(hint)
    choices = [c for k in kinds if get_origin(k) is Literal for c in get_args(k)]
    numbers = [0.25, 0.5] if float in kinds else [7, 1] if int in kinds else [True, False]
    for value in choices or numbers:
        try:
            changed = kind(**{item.name: value})
        except ValueError:
            continue  # needs another field as well
        if changed != kind():
            return value
    raise AssertionError(f"{name}: add a value to VALUES")


FIELDS = [
    (section, item.name, _other_value(section, kind, item))
    for section, kind in SECTIONS.items()
    for item in dataclasses.fields(kind)
]


def _parser():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action=jsonargparse.ActionConfigFile)
    # As the argument of the Trainer, which is what LightningCLI adds.
    parser.add_argument("--trainer.callbacks", type=list[Callback] | Callback | None)
    return parser


def _field(parser, arguments, section, name):
    # The second name is that of jsonargparse before 4.49.
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    callbacks = instantiate(parser.parse_args(arguments))["trainer"]["callbacks"]
    (callback,) = callbacks if isinstance(callbacks, list) else [callbacks]
    assert isinstance(callback, AnalogTraining)
    value = callback
    for part in (*section.split("."), name):
        value = getattr(value, part)
    return value


def _text(value):
    if dataclasses.is_dataclass(value):
        return f"aimc_lightning.devices.{type(value).__name__}"
    return str(list(value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_reached_from_flags(section):
    parser = _parser()
    for _, name, value in (field for field in FIELDS if field[0] == section):
        flag = f"--trainer.callbacks.{section}.{name}={_text(value)}"
        arguments = ["--trainer.callbacks+=aimc_lightning.AnalogTraining", flag]
        assert _field(parser, arguments, section, name) == value, name


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_reached_from_yaml(section, tmp_path):
    parser = _parser()
    for _, name, value in (field for field in FIELDS if field[0] == section):
        plain = list(value) if isinstance(value, tuple) else value
        settings = {
            name: {"class_path": _text(value)} if dataclasses.is_dataclass(value) else plain
        }
        for part in reversed(section.split(".")):
            settings = {part: settings}
        entry = {"class_path": "aimc_lightning.AnalogTraining", "init_args": settings}
        (tmp_path / "a.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [entry]}}))
        assert _field(parser, ["--config", str(tmp_path / "a.yaml")], section, name) == value, name

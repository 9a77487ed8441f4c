"""Single values of a configuration file that a user changes with ``--set``."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from aimc_lightning.config import TileConfig

_CALLBACKS = "trainer.callbacks"


def changed_arguments(
    settings: Sequence[str], content: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """Return the changes of one file as arguments of LightningCLI.

    Args:
        settings: Changes as the user wrote them, each ``KEY=VALUE`` behind the prefix; a callback
            goes by the name of its class, ``trainer.callbacks.AnalogTraining.config.clip.sigma=2``.
        content: The file.
        prefix: What stands before the keys of this file; changes of others are left out.

    Raises:
        ValueError: If a change has no value, or is one of a callback that the file does not have.
    """
    args: list[str] = []
    callbacks = (content.get("trainer") or {}).get("callbacks") or []
    callbacks = [callbacks] if isinstance(callbacks, Mapping) else callbacks
    changed = False
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key.startswith(prefix):
            continue
        if not equals:
            raise ValueError(f"--set {setting!r} is not of the form {prefix}KEY=VALUE.")
        key = key.removeprefix(prefix)
        if key.startswith(f"{_CALLBACKS}."):
            _change_callback(callbacks, key.removeprefix(f"{_CALLBACKS}."), value, setting, prefix)
            changed = True
        else:
            args.append(f"--{key}={value}")
    # The whole list, since arguments cannot reach into one.
    return [*args, f"--{_CALLBACKS}={json.dumps(callbacks)}"] if changed else args


def _change_callback(
    callbacks: Sequence[dict[str, Any]], path: str, value: str, setting: str, prefix: str
) -> None:
    """Set one value of a callback in place.

    Args:
        callbacks: Those of the file.
        path: ``CLASS.KEY``, where keys below the first are joined by dots, too.
        value: New value, as JSON or YAML.
        setting: The whole of it, for messages.
        prefix: What stands before the key, for messages.
    """
    name, *keys = path.split(".")
    found = [one for one in callbacks if one["class_path"].rpartition(".")[2] == name]
    if len(found) != 1 or not all(keys) or not keys:
        known = ", ".join(one["class_path"].rpartition(".")[2] for one in callbacks) or "none"
        raise ValueError(
            f"--set {setting!r} is not of the form {prefix}{_CALLBACKS}.CLASS.KEY=VALUE with the "
            f"class of one callback of the configuration; it has {known}."
        )
    place = found[0].setdefault("init_args", {})
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise ValueError(f"--set {setting!r}: {key!r} holds {place!r}, which has no keys.")
    place[keys[-1]] = _parsed(value)
    config = found[0]["init_args"].get("config")
    if isinstance(config, dict):
        try:  # the parser finds the same faults, but buries them in the whole list
            TileConfig.from_dict({part: config[part] for part in config if part != "chip"})
        except (TypeError, ValueError) as error:
            raise ValueError(f"--set {setting!r} gives tiles that cannot be: {error}") from error


def _parsed(value: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(value)  # knows 1e-4 as a number, YAML 1.1 does not
    except ValueError:
        return yaml.safe_load(value)

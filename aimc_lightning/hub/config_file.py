"""``config.json`` of a checkpoint: written with its own checksum, checked and migrated on reading.

The file says which network it is, what is analog and how, where it comes from, and the hashes of
the files beside it.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FORMAT = "aimc-lightning checkpoint"
FORMAT_VERSION = 1

# Migration from the version that is the key to the next one, as in checkpoint.py.
_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
_UNSET = "0" * 64
_CHECKSUM = re.compile(r'"checksum": "([0-9a-f]{64})"')
_ENTRIES = {"architecture": dict, "analog": dict, "origin": dict, "weights": dict, "files": dict}


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint comes from; all of it is for information.

    Attributes:
        recipe: Name of the recipe.
        recipe_text: The recipe itself as YAML.
        command: Command line that makes the checkpoint again.
        seed: Seed of the training.
        git_revision: Revision of the code that trained it.
        task: What the network does.
        data: Name of the data set.
        data_licence: Its licence.
        licence: Licence of the weights, as a hub writes it.
        base_model: Hub id of the weights that training began with.
    """

    recipe: str | None = None
    recipe_text: str | None = None
    command: str | None = None
    seed: int | None = None
    git_revision: str | None = None
    task: str | None = None
    data: str | None = None
    data_licence: str | None = None
    licence: str = "apache-2.0"
    base_model: str | None = None


def write_config(path: Path, config: dict[str, Any]) -> None:
    """Write a config with format, version and checksum.

    Args:
        path: File to write.
        config: Plain data without those three.

    Raises:
        ValueError: If something in it is not plain JSON; nothing is written.
    """
    head = {"checksum": _UNSET, "format": FORMAT, "format_version": FORMAT_VERSION}
    try:
        text = json.dumps({**head, **config}, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name} can only hold numbers, strings, lists and dicts ({error}): give other "
            "arguments of the network with save_pretrained(..., arguments={...})."
        ) from error
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(text.replace(_UNSET, digest, 1), encoding="utf-8")


def read_config(path: Path) -> dict[str, Any]:
    """Read a config in today's format.

    Args:
        path: The file.

    Returns:
        Its content, migrated.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a byte of it changed since it was written, it is no such file, or its format
            is newer than this library.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} holds no {path.name}: it is not the folder of a checkpoint. Write one "
            "with save_pretrained or 'aimc-lightning export'."
        )
    config = _parse(path)
    version = config["format_version"]
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has checkpoint format version {version} (written by aimc_lightning "
            f"{config.get('library_version', 'unknown')}); this library reads up to "
            f"{FORMAT_VERSION}. Install a newer aimc_lightning."
        )
    while version < FORMAT_VERSION:
        config = {**_MIGRATIONS[version](config), "format_version": version + 1}
        version += 1
    wrong = [name for name, kind in _ENTRIES.items() if not isinstance(config.get(name), kind)]
    named = config.get("architecture", {})
    if not wrong and not (
        isinstance(named.get("name"), str) and isinstance(named.get("arguments"), dict)
    ):
        wrong = ["name and arguments of the architecture"]
    if wrong:
        raise ValueError(f"{path} lacks {', '.join(wrong)}: write the checkpoint anew.")
    return config


def _parse(path: Path) -> dict[str, Any]:
    """Return the content of a config whose checksum is right."""
    raw = path.read_bytes()
    try:
        text = raw.decode()
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"{path} is truncated or damaged ({error}): get it again, or write the checkpoint anew."
        ) from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not the config of an aimc_lightning checkpoint. Read checkpoints "
            "of other projects with aimc_lightning.importer."
        )
    found = _CHECKSUM.search(text)
    blank = "" if found is None else text.replace(found[1], _UNSET, 1)
    if found is None or hashlib.sha256(blank.encode()).hexdigest() != found[1]:
        raise ValueError(
            f"{path} was changed after it was written (its checksum does not fit): get it again, "
            "or write the checkpoint anew with save_pretrained instead of editing the file."
        )
    version = config.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(
            f"{path} has format version {version!r}; it must be a whole number from 1 up. Write "
            "the checkpoint anew."
        )
    return config

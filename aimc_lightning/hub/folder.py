"""A checkpoint as a folder of files: written in one go, checked, and loaded."""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aimc_lightning.checkpoint import analog_metadata, convert_as_described, migrate_metadata
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.hub.architectures import architecture_of, build_architecture
from aimc_lightning.hub.card import model_card
from aimc_lightning.hub.config_file import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Origin,
    read_config,
    write_config,
)
from aimc_lightning.hub.weights import load_weights_, pack_weights, read_checked, unpack_weights
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.nn.registry import reason_to_stay
from aimc_lightning.selection import weighted_layers

CARD_FILE = "README.md"
_RECIPE, _ROWS = "recipe.yaml", "eval/drift.csv"
# The weights come with the checkpoint; a path in a config would read some other file.
_FORBIDDEN = "weights"


def save_pretrained(
    module: nn.Module,
    folder: str | Path,
    *,
    architecture: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    origin: Origin | None = None,
    results: DriftResults | None = None,
    half: bool = False,
) -> Path:
    """Write a module as a checkpoint folder: weights, config, model card, scores, recipe.

    In a distributed run only the first process writes.

    Args:
        module: Digital or analog module; a programmed chip is left out.
        folder: New or empty folder, or one that holds a checkpoint, which is replaced.
        architecture: Name given to ``register_architecture``; ``None`` finds it by the class.
        arguments: Arguments of the constructor; ``None`` takes the module's ``hparams``.
        origin: Recipe, command, seed, licence and the like.
        results: What ``evaluate_drift`` measured, for the model card.
        half: Whether to store matrices in half precision.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder holds something else.
        ValueError: If the module cannot be described or stored; nothing is written.

    Example:
        >>> import tempfile
        >>> from aimc_lightning.hub.architectures import register_architecture
        >>> _ = register_architecture("one_layer", lambda: nn.Sequential(nn.Linear(2, 2)))
        >>> folder = tempfile.mkdtemp()
        >>> path = save_pretrained(nn.Sequential(nn.Linear(2, 2)), folder, architecture="one_layer")
        >>> sorted(file.name for file in path.iterdir())
        ['README.md', 'config.json', 'model.safetensors']
    """
    folder, origin = Path(folder).absolute(), origin or Origin()
    _check_target(folder)
    if _rank() != 0:
        return folder
    data, described = pack_weights(module, half=half)
    texts = {}
    if origin.recipe_text is not None:
        texts[_RECIPE] = origin.recipe_text.encode()
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        (part / "eval").mkdir(parents=True)
        if results is not None and results.rows:
            results.to_csv(part / _ROWS)
            texts[_ROWS] = (part / _ROWS).read_bytes()
        config = {
            **_described(module, architecture or architecture_of(module), arguments, origin),
            "weights": described,
            "files": {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()},
        }
        write_config(part / CONFIG_FILE, config)
        (part / CARD_FILE).write_text(model_card(config, origin, results), encoding="utf-8")
        for name, content in {**texts, WEIGHTS_FILE: data}.items():
            (part / name).write_bytes(content)
        _replace(folder, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def verify_checkpoint(folder: str | Path) -> dict[str, Any]:
    """Check all files of a checkpoint folder against its config.

    Args:
        folder: The folder. The model card may be edited freely; recipe and scores may be missing.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If config or weights are missing.
        ValueError: If a file is not the one that was saved.
    """
    return _read(Path(folder))[0]


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return config and state of a folder whose files are all as saved."""
    config = read_config(folder / CONFIG_FILE)
    state = unpack_weights(folder / WEIGHTS_FILE, config["weights"])
    for name, sha256 in config["files"].items():
        if name not in (_RECIPE, _ROWS):
            raise ValueError(
                f"{folder / CONFIG_FILE} names {name!r}, which is no checkpoint file; write it "
                "anew with save_pretrained."
            )
        if (folder / name).exists():
            read_checked(folder / name, str(sha256))
    return config, state


def load_folder(
    folder: str | Path,
    *,
    strict: bool = True,
    arguments: Mapping[str, Any] | None = None,
    sha256: str | None = None,
) -> nn.Module:
    """Build the module of a checkpoint folder, in ``eval`` mode.

    Args:
        folder: Holds at least ``config.json`` and ``model.safetensors``.
        strict: Whether all names of the weights have to fit.
        arguments: Constructor arguments that override the saved ones.
        sha256: Hash that the weights have to have; ``None`` trusts the config.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged or of another checkpoint, the architecture is not
            registered, or the weights do not fit it.
    """
    folder = Path(folder)
    config, state = _read(folder)
    if sha256 not in (None, config["weights"]["sha256"]):
        raise ValueError(
            f"{folder / WEIGHTS_FILE} has sha256 {config['weights']['sha256']}, asked for was "
            f"{sha256}: it is another checkpoint. Name the revision that was pinned."
        )
    named = config["architecture"]
    if _FORBIDDEN in named["arguments"]:
        raise ValueError(
            f"{folder / CONFIG_FILE} names other weights in {_FORBIDDEN!r}, but a checkpoint must "
            "hold its own; write it anew with save_pretrained."
        )
    module = build_architecture(named["name"], {**named["arguments"], **(arguments or {})})
    metadata = migrate_metadata(config["analog"])
    if metadata["conversions"]:
        convert_as_described(module, metadata["conversions"], folder / CONFIG_FILE)
    load_weights_(module, state, folder / WEIGHTS_FILE, strict)
    return module.eval()


def _described(
    module: nn.Module, architecture: str, arguments: Mapping[str, Any] | None, origin: Origin
) -> dict[str, Any]:
    """Return what the config says about the module and its origin."""
    if arguments is None:
        arguments = getattr(module, "hparams", {})
    analog = analog_metadata(module)
    return {
        "library_version": analog["library_version"],
        "torch_version": analog["torch_version"],
        "architecture": {
            "name": architecture,
            "arguments": {key: value for key, value in arguments.items() if key != _FORBIDDEN},
        },
        "analog": analog,
        "digital_layers": _digital_layers(module),
        "origin": {k: v for k, v in dataclasses.asdict(origin).items() if k != "recipe_text"},
    }


def _digital_layers(module: nn.Module) -> list[dict[str, str]]:
    """Return the layers with weights that are not on tiles, and why."""
    analog = analog_layers(module)
    tiles = tuple(f"{name}.analog." if name else "analog." for name in analog)
    return [
        {
            "name": name,
            "type": type(layer).__name__,
            "reason": reason_to_stay(layer) or "not selected for conversion",
        }
        for name, layer in weighted_layers(module).items()
        if name not in analog and not f"{name}.".startswith(tiles)
    ]


def _rank() -> int:
    distributed = torch.distributed
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_rank() if running else 0


def _check_target(folder: Path) -> None:
    """Raise if a folder holds something that is no checkpoint."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: give the name of a folder.")
    known = {CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, _RECIPE, "eval"}
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in known)
    if strangers:
        raise FileExistsError(
            f"{folder} holds {', '.join(strangers[:3])}, which is no part of a checkpoint: give "
            "another folder, so that nothing of yours is replaced."
        )


def _replace(folder: Path, part: Path) -> None:
    """Put a finished folder in the place of the old one."""
    if not any((part / "eval").iterdir()):
        (part / "eval").rmdir()
    if folder.exists():
        shutil.rmtree(folder)
    part.replace(folder)

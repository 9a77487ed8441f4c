"""Checkpoints by name: those of the zoo ship inside the package, others come from a hub."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import nn

from aimc_lightning.hub import pretrained
from aimc_lightning.hub.architectures import register_architecture
from aimc_lightning.hub.config_file import CONFIG_FILE
from aimc_lightning.zoo.registry import get_entry, list_models


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    strict: bool = True,
    sha256: str | None = None,
    **arguments: Any,  # noqa: ANN401 - constructor arguments of the network
) -> nn.Module:
    """Build a trained module; nothing but JSON and safetensors is read.

    Args:
        name: Entry of the zoo whose checkpoint ships inside the package, which needs no network;
            a folder with a checkpoint (``./name`` if an entry has the same name); or a hub id
            ``owner/name``.
        revision: Branch, tag or commit on the hub; pin a commit for results that last.
        cache_dir: Cache of the hub's client; ``None`` is its usual one.
        local_files_only: Whether to stay away from the network.
        token: Access token for private repositories; ``None`` takes the stored one.
        strict: Whether all names of the weights have to fit; otherwise differences are a warning.
        sha256: Hash that the weights have to have; ``None`` trusts the checkpoint's config.
        **arguments: Constructor arguments of the network that override the saved ones.

    Returns:
        The module in ``eval`` mode, analog layers as they were saved, no chip programmed.

    Raises:
        ConnectionError: If the hub cannot be reached or answers with an error.
        FileNotFoundError: If there is no such folder, repository, revision or file.
        ValueError: If a file is damaged or of another checkpoint, or the network is not registered.

    Example:
        >>> from aimc_lightning import analog_layers, from_pretrained
        >>> len(analog_layers(from_pretrained("resnet8_digits")))
        8
    """
    register_entries()
    text = str(name)
    is_entry = text in list_models() or ("/" not in text and not Path(name).is_dir())
    return pretrained.from_pretrained(
        shipped_checkpoint(text) if is_entry else name,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        token=token,
        strict=strict,
        sha256=sha256,
        **arguments,
    )


def list_pretrained() -> list[str]:
    """Return the entries of the zoo whose checkpoint ships inside the package.

    Example:
        >>> from aimc_lightning.zoo.pretrained import list_pretrained
        >>> "resnet8_digits" in list_pretrained()
        True
    """
    return [name for name in list_models() if (_folder(name) / CONFIG_FILE).is_file()]


def shipped_checkpoint(name: str) -> Path:
    """Return the folder of the checkpoint that ships with an entry of the zoo.

    Raises:
        ValueError: If there is no such entry.
        FileNotFoundError: If the entry ships none.
    """
    get_entry(name)
    if name not in list_pretrained():
        raise FileNotFoundError(
            f"No checkpoint of {name!r} ships with the package; those of "
            f"{', '.join(list_pretrained()) or 'no entry'} do. Train it with 'aimc-lightning run "
            f"{name}', or give a folder or a hub id."
        )
    return _folder(name)


def register_entries() -> None:
    """Allow checkpoints to name the entries of the zoo as their architecture."""
    for name in list_models():
        register_architecture(name, get_entry(name).build)


def _folder(name: str) -> Path:
    return Path(str(files("aimc_lightning.zoo") / name / "checkpoint"))

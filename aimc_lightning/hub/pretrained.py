"""Load a checkpoint from a folder or from a hub by its id."""

from pathlib import Path
from typing import Any

from torch import nn

from aimc_lightning.hub.client import download
from aimc_lightning.hub.folder import load_folder


def from_pretrained(
    id_or_directory: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    strict: bool = True,
    sha256: str | None = None,
    **arguments: Any,  # noqa: ANN401 - constructor arguments of the network
) -> nn.Module:
    """Build a module from a checkpoint; nothing but JSON and safetensors is read.

    Args:
        id_or_directory: A folder that exists, or a hub id ``owner/name``.
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
        ValueError: If a file is damaged or of another checkpoint, has another hash than
            ``sha256``, or does not fit the registered architecture.
    """
    folder = Path(id_or_directory)
    if not folder.is_dir():
        folder = download(
            _checked_id(str(id_or_directory)),
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
        )
    elif revision is not None:
        raise ValueError(f"{folder} is a folder, which has no revision {revision!r}: leave it out.")
    return load_folder(folder, strict=strict, arguments=arguments, sha256=sha256)


def _checked_id(name: str) -> str:
    if name.count("/") != 1 or not all(name.split("/")):
        raise ValueError(
            f"{name!r} is neither a folder nor a hub id: give the folder of a checkpoint, or "
            "'owner/name'."
        )
    return name

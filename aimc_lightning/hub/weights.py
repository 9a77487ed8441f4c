"""``model.safetensors``: shared tensors once, matrices in half precision if wanted."""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from aimc_lightning.nn.base import analog_tiles

_HALF = torch.float16
_WIDER = (torch.float32, torch.float64)


def pack_weights(module: nn.Module, *, half: bool = False) -> tuple[bytes, dict[str, Any]]:
    """Return the state of a module as the bytes of a safetensors file.

    A programmed chip is left out: it is a random draw, and can be drawn again from its seed.

    Args:
        module: Any module; parameters and buffers are stored, analog state among them.
        half: Whether to store matrices in half precision; vectors and scalars (biases, input
            ranges, output scales, statistics) stay as they are.

    Returns:
        The bytes; and ``sha256``, ``half_precision`` and ``shared``, the names of tensors that are
        the same as one stored under another name.

    Raises:
        ValueError: If the state holds something else than tensors, a NaN, or a number that half
            precision cannot hold.
    """
    chips = tuple(f"{name}.chip." for name in analog_tiles(module))
    stored: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name, value in module.state_dict().items():
        if chips and name.startswith(chips):
            continue
        if not isinstance(value, Tensor):
            raise ValueError(
                f"State {name!r} is a {type(value).__name__}, not a tensor; a checkpoint holds "
                "tensors only. Keep it out of state_dict(), for example as a constructor argument."
            )
        key = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() > 0 and key in seen:
            shared[name] = seen[key]
            continue
        seen[key] = name
        stored[name] = _stored(name, value.detach().cpu(), half)
    data = safetensors.torch.save(stored, metadata={"format": "pt"})
    digest = hashlib.sha256(data).hexdigest()
    return data, {"sha256": digest, "half_precision": half, "shared": shared}


def _stored(name: str, value: Tensor, half: bool) -> Tensor:
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise ValueError(f"{name!r} holds NaN or infinite values: the checkpoint would be useless.")
    if half and value.dim() >= 2 and value.dtype in _WIDER:
        short = value.to(_HALF)
        if not torch.isfinite(short).all():
            raise ValueError(
                f"{name!r} reaches {value.abs().max():.3g}, half precision only "
                f"{torch.finfo(_HALF).max:.3g}: save without half=True."
            )
        value = short
    return value.clone(memory_format=torch.contiguous_format)


def unpack_weights(path: Path, described: dict[str, Any]) -> dict[str, Tensor]:
    """Read a weights file that has the hash its config says.

    Args:
        path: The safetensors file.
        described: The entry ``weights`` of the config.

    Returns:
        The state by name, shared tensors under each of their names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the hash differs: the file is damaged, or belongs to another config.
    """
    data = read_checked(path, str(described.get("sha256")))
    try:
        state = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}); get it again or write it anew."
        ) from error
    shared = described.get("shared", {})
    strangers = sorted(set(shared.values()) - set(state))
    if strangers:
        raise ValueError(
            f"{path} lacks {', '.join(strangers)}, which other names share; write it anew."
        )
    return {**state, **{alias: state[name] for alias, name in shared.items()}}


def read_checked(path: Path, sha256: str) -> bytes:
    """Return the content of a file whose hash is known.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its hash is another.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the checkpoint is incomplete, get it again or write it anew."
        )
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} ({len(data)} bytes) has sha256 {found[:16]}..., its config says "
            f"{sha256[:16]}...: it is truncated or damaged, or belongs to another config. Get both "
            "files again, or write the checkpoint anew."
        )
    return data


def load_weights_(module: nn.Module, state: dict[str, Tensor], path: Path, strict: bool) -> None:
    """Load a state into a module, in place; stored types are cast to the module's own.

    Args:
        module: Already converted as the state wants it.
        state: From :func:`unpack_weights`.
        path: Its file, for messages.
        strict: Whether names have to be the same; otherwise differences are a warning.

    Raises:
        ValueError: If names differ with ``strict``, or shapes differ; the module is not changed.
    """
    expected = module.state_dict()
    missing, unexpected = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    wrong = [
        f"{name} {tuple(value.shape)} instead of {tuple(expected[name].shape)}"
        for name, value in state.items()
        if name in expected and value.shape != expected[name].shape
    ]
    differences = (
        f"missing {_some(missing)}; unexpected {_some(unexpected)}; of another shape {_some(wrong)}"
    )
    if wrong or (strict and (missing or unexpected)):
        raise ValueError(
            f"{path} does not fit {type(module).__name__}: {differences}. Load it with the "
            "architecture and arguments it was saved with."
        )
    if missing or unexpected:
        warnings.warn(f"{path} was loaded with strict=False: {differences}.", stacklevel=4)
    module.load_state_dict(state, strict=False)


def _some(names: list[str], limit: int = 3) -> str:
    """Return the first few names and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "none"

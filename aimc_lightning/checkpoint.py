"""The analog part of a Lightning checkpoint: what was converted and how, and loading it again.

Lightning's own ``load_from_checkpoint`` runs no callback, so it builds the digital module and finds
the analog keys unexpected. :func:`load_from_checkpoint` converts first. Nothing here needs
Lightning itself; the module class brings what is used of it.
"""

import glob
import hashlib
import importlib.metadata
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import Selector, convert_to_analog
from aimc_lightning.nn.base import analog_layers, tile_arrays
from aimc_lightning.nn.sharded import whole
from aimc_lightning.same_conversion import check_same_conversion

METADATA_KEY = "aimc_lightning"
FORMAT_VERSION = 1

# Migration from the version that is the key to the next one. A new format adds one entry here and
# one test with a stored example of the old form.
_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def analog_metadata(
    model: nn.Module,
    include: Sequence[Selector] | None = None,
    exclude: Sequence[Selector] = (),
) -> dict[str, Any]:
    """Describe the analog layers of a model in plain dicts, lists, strings and numbers.

    Args:
        model: Model with analog layers.
        include: Selection the user gave to ``convert_to_analog``, kept for information.
        exclude: The same.

    Returns:
        ``format_version``, ``library_version``, ``torch_version``, ``include``, ``exclude`` and
        ``conversions``: one entry per distinct tile config with ``config`` (dict form of
        :class:`~aimc_lightning.config.TileConfig`) and ``layers`` (names, in module order).

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 2))
        >>> _ = convert_to_analog(model, "ideal")
        >>> [entry["layers"] for entry in analog_metadata(model)["conversions"]]
        [['0']]
    """
    conversions: list[dict[str, Any]] = []
    for name, layer in analog_layers(model).items():
        config = tile_arrays(layer)[0].config.to_dict()
        for entry in conversions:
            if entry["config"] == config:
                entry["layers"].append(name)
                break
        else:
            conversions.append({"config": config, "layers": [name]})
    return {
        "format_version": FORMAT_VERSION,
        "library_version": _library_version(),
        "torch_version": str(torch.__version__),
        "include": None if include is None else selector_names(include),
        "exclude": selector_names(exclude),
        "conversions": conversions,
    }


def selector_names(selectors: Sequence[Selector]) -> list[str]:
    """Return layer selectors as plain strings."""
    return [item if isinstance(item, str) else item.__name__ for item in selectors]


def state_fingerprint(module: nn.Module) -> str:
    """Return a hash of the names and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        if isinstance(value, Tensor):
            plain = whole(value).detach().cpu().contiguous().flatten()
            digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_metadata(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the analog metadata of a checkpoint in today's format.

    Args:
        checkpoint: Loaded Lightning checkpoint; ``None`` is returned for a digital one.

    Raises:
        ValueError: If the metadata was written by a newer format.
    """
    metadata = checkpoint.get(METADATA_KEY)
    return None if metadata is None else migrate_metadata(metadata)


def migrate_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return analog metadata of an older format in today's, or raise ``ValueError``.

    Args:
        metadata: As read from a checkpoint; not changed.
    """
    version = metadata.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise ValueError(
            f"The analog metadata has format version {version!r}; it must be a whole number from 1 "
            f"to {FORMAT_VERSION}. The checkpoint was changed or damaged."
        )
    if version > FORMAT_VERSION:
        raise ValueError(
            f"The checkpoint has analog format version {version} (written by aimc_lightning "
            f"{metadata.get('library_version', 'unknown')}); this library reads up to "
            f"{FORMAT_VERSION}. Install a newer aimc_lightning."
        )
    while version < FORMAT_VERSION:
        metadata = {**_MIGRATIONS[version](metadata), "format_version": version + 1}
        version += 1
    return metadata


def load_from_checkpoint(
    cls: type[ModuleT],
    path: str | Path,
    *,
    map_location: str | torch.device | None = "cpu",
    **kwargs: Any,  # noqa: ANN401 - constructor arguments of the module
) -> ModuleT:
    """Build the analog module from a Lightning checkpoint.

    Args:
        cls: The LightningModule class, digital as the user wrote it.
        path: Checkpoint written by a Trainer with ``AnalogTraining``.
        map_location: Device of the loaded tensors.
        **kwargs: Constructor arguments that override or complete the saved hyperparameters.

    Returns:
        The module with its analog layers, in training mode as Lightning leaves it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated or corrupt, digital, of a newer format, or of another
            architecture.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path, map_location)
    metadata = read_metadata(checkpoint)
    if metadata is None:
        raise _digital_error(cls, path, checkpoint)
    module = _build_digital(cls, path, map_location, kwargs)
    convert_as_described(module, metadata["conversions"], path)
    check_same_conversion(analog_metadata(module), metadata, training=True)
    module.on_load_checkpoint(checkpoint)  # type: ignore[operator]
    try:
        module.load_state_dict(checkpoint["state_dict"], strict=True)
    except RuntimeError as error:
        raise _architecture_error(cls, path, error) from None
    return module


def read_checkpoint(
    path: str | Path, map_location: str | torch.device | None = "cpu"
) -> dict[str, Any]:
    """Read a checkpoint file without running code from it (``weights_only=True``).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, corrupt, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint at {path}; check the path.")
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except (RuntimeError, EOFError, BadZipFile, OSError, pickle.UnpicklingError) as error:
        reason = f"it is truncated or corrupt (size {path.stat().st_size} bytes)"
        if "Unsupported global" in str(error) or "WeightsUnpickler error: " in str(error):
            reason = (
                "it holds Python objects, which safe loading refuses; keep hyperparameters to "
                "numbers, strings, lists and dicts, e.g. self.save_hyperparameters(ignore=['net'])"
            )
        raise ValueError(f"Checkpoint {path} cannot be read: {reason}.") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(
            f"{path} is not a Lightning checkpoint: it has no entry 'state_dict'. Plain weights "
            "are loaded with model.load_state_dict(torch.load(path, weights_only=True))."
        )
    return checkpoint


def _build_digital(
    cls: type[ModuleT], path: Path, map_location: str | torch.device | None, kwargs: dict[str, Any]
) -> ModuleT:
    try:
        with warnings.catch_warnings():
            # Its analog keys are loaded after conversion.
            warnings.filterwarnings("ignore", message="Found keys that are")
            return cls.load_from_checkpoint(  # type: ignore[attr-defined]
                path, map_location=map_location, strict=False, weights_only=True, **kwargs
            )
    except RuntimeError as error:
        raise _architecture_error(cls, path, error) from None


def convert_as_described(module: nn.Module, conversions: list[dict[str, Any]], path: Path) -> None:
    """Convert the layers that a checkpoint names, in place; ``ValueError`` if one is missing."""
    names = dict(module.named_modules())
    configs = {
        layer: TileConfig.from_dict(entry["config"])
        for entry in conversions
        for layer in entry["layers"]
    }
    missing = [name for name in configs if name not in names]
    if missing:
        raise _architecture_error(type(module), path, f"no layer {', '.join(map(repr, missing))}")
    layers = {glob.escape(name): config for name, config in configs.items()}
    convert_to_analog(module, next(iter(configs.values())), include=list(layers), layers=layers)


def _architecture_error(cls: type, path: Path, error: RuntimeError | str) -> ValueError:
    lines = [line.strip() for line in str(error).splitlines()]
    reason = " ".join(lines[1:4]) if len(lines) > 1 else lines[0]
    return ValueError(
        f"Checkpoint {path} is of another architecture than {cls.__name__}: {reason}. Load it with "
        "the class and the constructor arguments it was trained with."
    )


def _digital_error(cls: type, path: Path, checkpoint: dict[str, Any]) -> ValueError:
    if any(".analog.tiles." in key for key in checkpoint["state_dict"]):
        return ValueError(
            f"Checkpoint {path} has analog weights but no description of the conversion: it was "
            "saved by a Trainer without AnalogTraining. Build the module, convert it with the "
            "config of the training run, then call load_state_dict."
        )
    return ValueError(
        f"Checkpoint {path} is digital, there is nothing analog to rebuild. Load it with "
        f"{cls.__name__}.load_from_checkpoint(path), then convert_to_analog(module, ...)."
    )


def _library_version() -> str:
    try:
        return importlib.metadata.version("aimc-lightning")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

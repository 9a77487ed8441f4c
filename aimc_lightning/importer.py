"""Weights and input ranges of aihwkit and aihwkit-lightning checkpoints, onto our layers.

Safe files only (safetensors, or what torch loads with ``weights_only=True``); pickles behind a flag
and an unpickler that knows a fixed list of names. Convert the model first: its own config counts.

Source: names of the state: IBM/aihwkit, ``src/aihwkit/simulator/tiles/{base,array,torch_tile}.py``;
IBM/aihwkit-lightning, ``src/aihwkit_lightning/nn/modules/{base,linear}.py``.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from aimc_lightning.nn.base import analog_arrays, analog_layers

# <layer>.analog_module.array.<row>.<column>.<rest>, or without the array.
_TILE = re.compile(r"(.*?)\.?analog_module\.(?:array\.(\d+)\.(\d+)\.)?(.+)")
_LEFT_OUT = ("analog_ctx", "input_range_update_idx", "x_min", "x_max", "shared_weights")
_RESTORED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch.nn.parameter", "Parameter"),
    *(("torch", f"{kind}Storage") for kind in ("Float", "Half", "BFloat16", "Double", "Long")),
    *(("torch", f"{kind}Storage") for kind in ("Int", "Bool")),
}


def import_checkpoint(
    module: nn.Module, path: str | Path, *, allow_pickle: bool = False
) -> list[str]:
    """Load a checkpoint of aihwkit or aihwkit-lightning into a converted module, in place.

    Weights come back in digital units (mapping and output scales multiplied in), input ranges one
    for each row of tiles. Noise settings stay those of the module.

    Args:
        module: Converted by ``convert_to_analog``, layers named as in the checkpoint.
        path: ``.safetensors``, or a file of ``torch.save`` with the state dict.
        allow_pickle: Whether to read Python objects, too: only tensors and containers are made,
            settings of aihwkit become inert, every other name is refused.

    Returns:
        Names of the state that were not used.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not safe to read or damaged, or does not fit the module; the
            module is not changed.
    """
    found = read_foreign_state(path, allow_pickle=allow_pickle)
    plain, ranges, unused = translate_state(found)
    expected = module.state_dict()
    digital = {key: value for key, value in expected.items() if ".analog." not in key}
    missing = sorted(set(digital) - set(plain))
    wrong = [
        f"{key} {tuple(plain[key].shape)} instead of {tuple(value.shape)}"
        for key, value in digital.items()
        if key in plain and plain[key].numel() != value.numel()
    ]
    layers = analog_layers(module)
    for name, values in ranges.items():
        tiles = _range_tiles(layers[name]) if name in layers else []
        if len(tiles) != values.numel():
            wrong.append(f"{name}: {values.numel()} input ranges for {len(tiles)} rows of tiles")
    if missing or wrong:
        raise ValueError(
            f"{path} does not fit {type(module).__name__}: missing {missing[:3] or 'none'}; of "
            f"another shape {wrong[:3] or 'none'}. Convert the same layers with the same tile size."
        )
    used = {k: plain[k].reshape(v.shape) for k, v in digital.items()}
    module.load_state_dict(used, strict=False)
    with torch.no_grad():
        for name, values in ranges.items():
            for tile, value in zip(_range_tiles(layers[name]), values, strict=True):
                tile.input_range.fill_(float(value))
                tile.initializing = False
                tile.range_batches.fill_(tile.config.input_range.init_batches)
    return sorted(unused + [key for key in plain if key not in digital])


def translate_state(
    state: Mapping[str, Any],
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """Sort a foreign state into digital weights, input ranges of layers, and what is not used.

    Args:
        state: State dict of aihwkit (``analog_module`` in its names) or aihwkit-lightning.

    Returns:
        Tensors by our names; input ranges by layer, one for each row of tiles; unused names.

    Example:
        >>> tile = {"fc.analog_module.tile.weight": torch.ones(2, 3)}
        >>> scaled = {**tile, "fc.analog_module.mapping_scales": torch.tensor([2.0])}
        >>> translate_state(scaled)[0]["fc.weight"][0]
        tensor([2., 2., 2.])
    """
    plain: dict[str, Tensor] = {}
    ranges: dict[str, Tensor] = {}
    unused: list[str] = []
    tiles: dict[str, dict[tuple[int, int], dict[str, Tensor]]] = {}
    for key, value in state.items():
        match = _TILE.fullmatch(key)
        layer, _, last = key.rpartition(".")
        if match:
            place = (int(match[2] or 0), int(match[3] or 0))
            parts = value.items() if isinstance(value, Mapping) else [(match[4], value)]
            for part, tensor in parts:
                if isinstance(tensor, Tensor):
                    tiles.setdefault(match[1], {}).setdefault(place, {})[part] = tensor
        elif last in _LEFT_OUT or not isinstance(value, Tensor):
            unused.append(key)
        elif last == "input_range":
            ranges[layer] = value.flatten()
        else:
            plain[key] = value
    for layer, places in tiles.items():
        _join_tiles(layer, places, plain, ranges)
    return plain, ranges, unused


def read_foreign_state(path: str | Path, *, allow_pickle: bool = False) -> dict[str, Any]:
    """Read a state dict without running code from it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, holds no state dict, or objects that are not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint at {path}; check the path.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        restricted: Any = SimpleNamespace(Unpickler=_Unpickler, load=_refuse, __name__="restricted")
        state = (
            torch.load(path, map_location="cpu", weights_only=False, pickle_module=restricted)
            if allow_pickle
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError) as error:
        remedy = (
            "it asks for names that are never restored; save its state_dict() alone"
            if allow_pickle
            else "it is damaged, or holds Python objects; if you trust where it is from, set "
            "allow_pickle=True"
        )
        raise ValueError(f"{path} cannot be read: {remedy} ({str(error)[:200]}).") from error
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds a {type(state).__name__}, but it must hold a state dict.")
    return dict(state)


def _refuse(*_: Any, **__: Any) -> None:  # noqa: ANN401
    raise pickle.UnpicklingError(
        "its format is that of torch before 1.6; save it with a newer torch.save."
    )


class _Inert(dict):
    """Stands for a settings object of aihwkit; keeps nothing and does nothing."""

    def __init__(self, *_: Any) -> None:  # noqa: ANN401
        super().__init__()

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        """Drop the settings."""


class _Unpickler(pickle.Unpickler):
    """Restores tensors and containers; settings of aihwkit become inert; refuses all else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """Return what a name in the file stands for."""
        if (module, name) in _RESTORED:
            return super().find_class(module, name)
        if module.split(".")[0] in ("aihwkit", "aihwkit_lightning"):
            return _Inert
        raise pickle.UnpicklingError(
            f"{module}.{name} is not on the list of allowed names, only tensors and containers are."
        )


def _join_tiles(
    layer: str,
    places: Mapping[tuple[int, int], Mapping[str, Tensor]],
    plain: dict[str, Tensor],
    ranges: dict[str, Tensor],
) -> None:
    """Put the tiles of one layer together; the first index counts along the inputs."""
    prefix = f"{layer}." if layer else ""
    rows: dict[int, list[Tensor]] = {}
    inputs: dict[int, Tensor] = {}
    for (row, _), parts in sorted(places.items()):
        if "bias" in parts:
            plain[f"{prefix}bias"] = parts["bias"]
        weight = next(
            (parts[n] for n in ("tile.weight", "analog_tile_weights") if n in parts), None
        )
        if weight is None:
            continue
        for name in ("mapping_scales", "out_scaling_alpha"):
            if name in parts:
                weight = weight * parts[name].reshape(-1, 1)
        rows.setdefault(row, []).append(weight)
        if "input_range" in parts:
            inputs[row] = parts["input_range"].flatten()[:1]
    if rows:
        plain[f"{prefix}weight"] = torch.cat([torch.cat(rows[row], 0) for row in sorted(rows)], 1)
    if inputs:
        ranges[layer] = torch.cat([inputs[row] for row in sorted(inputs)])


def _range_tiles(layer: nn.Module) -> list[Any]:
    """Return the tiles of a layer with one matrix, in the order of its inputs."""
    arrays = list(analog_arrays(layer).values())
    return list(arrays[0][0].tiles) if len(arrays) == 1 else []

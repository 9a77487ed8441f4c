"""What analog layers have in common, and controls over all of them in a model.

An analog layer subclasses its torch layer, keeps its parameters under their names and in digital
units, and holds its tiles as ``analog``: one array, or a dictionary of arrays by name, listed by
:func:`analog_arrays`.
"""

import copy
import hashlib
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.nn.sharded import whole_parameters
from aimc_lightning.tiles.array import TileArray
from aimc_lightning.tiles.tile import AnalogTile
from aimc_lightning.times import parse_time

L = TypeVar("L", bound=nn.Module)


def adopt(layer: nn.Module, cls: type[L]) -> L:
    """Return a layer of another class that shares parameters, buffers and hooks with ``layer``.

    Args:
        layer: The layer to take over; it is left untouched.
        cls: Class of the result.

    Example:
        >>> from torch import nn
        >>> layer = nn.Linear(2, 2)
        >>> adopt(layer, nn.Linear).weight is layer.weight
        True
    """
    adopted = cls.__new__(cls)
    # The dictionaries of parameters, modules and hooks are copied, what they hold is shared.
    adopted.__dict__.update(
        {
            key: copy.copy(value) if isinstance(value, dict) else value
            for key, value in layer.__dict__.items()
        }
    )
    return adopted


def adopt_with_arrays(
    layer: nn.Module,
    cls: type,
    names: list[str],
    config: TileConfig,
    stepwise: Collection[str] = (),
) -> Any:  # noqa: ANN401 - an instance of cls
    """Return an analog layer with one array of tiles for each of several matrices.

    Args:
        layer: Digital layer; shares its parameters with the result.
        cls: Class of the result; its ``crossbar_weight(name)`` gives a matrix ``(out, in)``.
        names: Names of the arrays.
        config: Settings of the tiles.
        stepwise: Names of the recurrent ones, whose inputs come step by step and are neither
            centred nor split.
    """
    new: Any = adopt(layer, cls)
    weights = {name: new.crossbar_weight(name) for name in names}
    arrays = {
        name: TileArray.for_linear(
            weight.shape[0], weight.shape[1], config, stepwise=name in stepwise
        ).to(weight.device, weight.dtype)
        for name, weight in weights.items()
    }
    new.analog = nn.ModuleDict(arrays).train(layer.training)
    new.digital_class = type(layer)
    return new


def restore(analog: Any) -> Any:  # noqa: ANN401 - an instance of the digital class
    """Return the layer that an analog one was made from, with the same parameter objects."""
    layer = adopt(analog, analog.digital_class)
    del layer.analog, layer.digital_class
    return layer


def analog_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the analog layers of a model by name, shared layers once.

    Example:
        >>> from torch import nn
        >>> analog_layers(nn.Linear(2, 2))
        {}
    """
    return {name: module for name, module in model.named_modules() if is_analog(module)}


def is_analog(module: nn.Module) -> bool:
    """Return whether a module itself holds tiles.

    Example:
        >>> from torch import nn
        >>> is_analog(nn.Linear(2, 2))
        False
    """
    held = module._modules.get("analog")
    if isinstance(held, nn.ModuleDict):
        return len(held) > 0 and all(isinstance(array, TileArray) for array in held.values())
    return isinstance(held, TileArray)


def analog_arrays(layer: Any) -> dict[str, tuple[TileArray, Tensor]]:  # noqa: ANN401
    """Return the arrays of one analog layer with the logical weights that each holds.

    Args:
        layer: An analog layer.

    Returns:
        From the name of the array (``weight`` if there is one only) to the array and its weights,
        ``(out, in, ...)``, as a rule a view of a parameter.
    """
    if isinstance(layer.analog, TileArray):
        return {"weight": (layer.analog, layer.crossbar_weight())}
    return {name: (array, layer.crossbar_weight(name)) for name, array in layer.analog.items()}


def matrix_name(name: str, array: str, arrays: Collection[str]) -> str:
    """Return the name of one matrix in tables: the layer's, and the array's if it has several.

    Args:
        name: Name of the layer.
        array: Name of the array, see :func:`analog_arrays`.
        arrays: Names of all arrays of the layer.

    Example:
        >>> matrix_name("fc", "weight", ["weight"]), matrix_name("rnn", "hh", ["ih", "hh"])
        ('fc', 'rnn.hh')
    """
    return name if len(arrays) == 1 else f"{name}.{array}"


def tile_arrays(layer: Any) -> list[TileArray]:  # noqa: ANN401
    """Return the arrays of one analog layer without looking at its weights.

    Args:
        layer: An analog layer.
    """
    return [layer.analog] if isinstance(layer.analog, TileArray) else list(layer.analog.values())


def parameter_name(layer: Any, name: str) -> str:  # noqa: ANN401
    """Return the name of the parameter that holds the weights of an array.

    Args:
        layer: An analog layer.
        name: Name of the array, see :func:`analog_arrays`.
    """
    return layer.parameter_name(name) if hasattr(layer, "parameter_name") else name


@torch.no_grad()
def store_weight_(layer: nn.Module, name: str, value: Tensor) -> None:
    """Replace the weights of an array inside the parameter that holds them.

    Args:
        layer: An analog layer.
        name: Name of the array, see :func:`analog_arrays`.
        value: New logical weights, shaped as :func:`analog_arrays` gives them.
    """
    _, weight = analog_arrays(layer)[name]
    weight.copy_(value)
    _write_back_(layer, name, weight)


def _write_back_(layer: nn.Module, name: str, weight: Tensor) -> None:
    """Copy weights to their parameter if they are no view of it (unfolded, channels last)."""
    parameter = getattr(layer, parameter_name(layer, name))
    if weight.untyped_storage().data_ptr() != parameter.untyped_storage().data_ptr():
        parameter.copy_(weight.view_as(parameter))


def analog_tiles(model: nn.Module) -> dict[str, AnalogTile]:
    """Return all tiles of a model by name."""
    return {name: tile for name, tile in model.named_modules() if isinstance(tile, AnalogTile)}


def set_noise_scale_(model: nn.Module, factor: float) -> None:
    """Multiply the configured training weight noise of all tiles, in place.

    Args:
        model: Model with analog layers.
        factor: Multiple, not negative; 0 switches the noise off.

    Raises:
        ValueError: If ``factor`` is negative.
    """
    if not factor >= 0:
        raise ValueError(f"The noise factor must not be negative, got {factor}.")
    for tile in analog_tiles(model).values():
        tile.noise_scale = float(factor)


def redraw_weight_noise_(model: nn.Module) -> None:
    """Forget held training noise; call it after each optimizer step with ``draw='step'``."""
    for tile in analog_tiles(model).values():
        tile.redraw_noise_()


@torch.no_grad()
def clip_weights_(model: nn.Module) -> None:
    """Clip the weights of all analog layers as configured; call it after each optimizer step."""
    for layer in analog_layers(model).values():
        if all(array.config.clip.type is None for array in tile_arrays(layer)):
            continue
        with whole_parameters(layer, write=True):
            for name, (array, weight) in analog_arrays(layer).items():
                if array.config.clip.type is not None:
                    array.clip_(weight)
                    _write_back_(layer, name, weight)


def program_(model: nn.Module, seed: int) -> None:
    """Programme all analog layers: one chip, drawn from one seed. Trained weights stay as they are.

    The chip is used in ``eval`` mode only. Every layer draws from a generator of its own, so a chip
    does not depend on the order or number of other layers' draws, nor on the device.

    Args:
        model: Model with analog layers.
        seed: Chooses the chip.

    Raises:
        ValueError: If the model has no analog layer.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "Call program_ outside inference mode: tensors made in it cannot be used later."
        )
    for _, array, weight, generator in _seeded_arrays(model, seed, "program"):
        array.program_(weight, generator)


def set_time_(model: nn.Module, t_inference_s: str | float, seed: int = 0) -> None:
    """Age a programmed model: drift, 1/f noise, compensation, and a fresh stream of forward noise.

    Args:
        model: Programmed model.
        t_inference_s: Time since the end of programming, seconds or text such as ``"1d"``; 0 is
            right after it, without 1/f noise.
        seed: Chooses the read noise.

    Raises:
        ValueError: If the model was never programmed, or the time is negative, without data or
            cannot be read.
    """
    time_s = parse_time(t_inference_s)
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "Call set_time_ outside inference mode: tensors made in it cannot be used later."
        )
    for name, array, _, generator in _seeded_arrays(model, seed, "read"):
        for tile in array.tiles:
            if tile.chip is None:
                raise ValueError(
                    f"Layer {name!r} was never programmed; call program_(model, seed) first."
                )
            tile.chip.set_time_(time_s, generator)  # type: ignore[union-attr,operator]


def unprogram_(model: nn.Module) -> None:
    """Remove the chip; the model is again what it was in training."""
    for tile in analog_tiles(model).values():
        tile.chip = None


def is_programmed(model: nn.Module) -> bool:
    """Return whether all analog layers hold a chip."""
    tiles = analog_tiles(model).values()
    return bool(tiles) and all(tile.chip is not None for tile in tiles)


def _seeded_arrays(
    model: nn.Module, seed: int, purpose: str
) -> Iterator[tuple[str, TileArray, Tensor, torch.Generator]]:
    layers = analog_layers(model)
    if not layers:
        raise ValueError("The model has no analog layer; call convert_to_analog(model) first.")
    for index, (name, layer) in enumerate(layers.items()):
        with whole_parameters(layer) if purpose == "program" else nullcontext():
            for part, (array, weight) in enumerate(analog_arrays(layer).values()):
                # A hash, so that neither neighbouring seeds nor programming and reading share
                # numbers.
                key = f"{purpose} {seed} {index} {part}".encode()
                stream = int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1
                yield name, array, weight, torch.Generator().manual_seed(stream)

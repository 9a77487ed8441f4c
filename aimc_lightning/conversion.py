"""The only place that swaps layers: digital to analog and back, with a report of what was done."""

import warnings
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.nn.base import (
    analog_arrays,
    analog_layers,
    is_analog,
    parameter_name,
    store_weight_,
    tile_arrays,
)
from aimc_lightning.nn.registry import analog_class, convertible_names, reason_to_stay
from aimc_lightning.nn.sharded import has_shards
from aimc_lightning.nn.shortcuts import bypassed_children, close_shortcuts_
from aimc_lightning.presets import get_preset
from aimc_lightning.report import ConversionReport as ConversionReport
from aimc_lightning.report import LayerReport
from aimc_lightning.selection import Selection, select, weighted_layers
from aimc_lightning.selection import Selector as Selector


def convert_to_analog(
    model: nn.Module,
    config: TileConfig | str = "standard_pcm",
    *,
    include: Sequence[Selector] | None = None,
    exclude: Sequence[Selector] = (),
    layers: Mapping[str, TileConfig | str | None] | None = None,
) -> ConversionReport:
    """Swap the layers of a model for analog ones, in place.

    Parameters stay the same objects, so optimizers and ties survive. Layers reached from two
    parents are converted once.

    Selectors are the name of a layer, a glob (``layer1.*``), a regular expression after ``re:``, a
    class or its name (``Conv2d``), and ``first`` or ``last`` for the first and last convertible
    layer in the order of ``model.named_modules()``.

    Args:
        model: Any module; itself a layer is not enough, it needs a parent.
        config: Settings of all tiles, or the name of a preset.
        include: Selectors of layers to convert; all convertible ones if ``None``.
        exclude: Selectors of layers to keep digital.
        layers: Settings for single layers by selector, the first match counts; ``None`` as value
            keeps a layer digital.

    Returns:
        What was converted, what was kept, and why.

    Raises:
        ValueError: If nothing was converted, a selector matches no layer, the model is already
            analog with another config or selection, a layer does not fit its config, or a weight is
            not finite.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> print(convert_to_analog(model, exclude=["last"]))
        0  Linear  1 tile
        2  Linear  digital: excluded
        1 layer on 1 tile, 1 layer with weights stays digital
    """
    default = get_preset(config) if isinstance(config, str) else config
    overrides = {
        key: get_preset(value) if isinstance(value, str) else value
        for key, value in (layers or {}).items()
    }
    selection = select(model, default, include, exclude, overrides)
    if analog_layers(model):
        _require_same(model, selection)
        return ConversionReport(already=True)
    _require_whole(model, "Call convert_to_analog before fully_shard")
    report = ConversionReport()
    replacements: dict[int, nn.Module] = {}
    for name, module, choice in _choices(model, selection):
        kind = type(module).__name__
        if isinstance(choice, str):
            report.kept.append(LayerReport(name, kind, 0, choice))
            continue
        analog = _made_analog(name, module, choice)
        replacements[id(module)] = analog
        tiles = sum(len(array.crossbars) for array, _ in analog_arrays(analog).values())
        report.converted.append(LayerReport(name, kind, tiles, ""))
    if not report.converted:
        raise ValueError(_nothing_converted(report))
    _swap(model, replacements)
    return report


def convert_to_digital(model: nn.Module) -> nn.Module:
    """Swap all analog layers back, in place; learned output scales are folded into the weights.

    The weights of layers whose weight is tied to another module stay as they are when their output
    scale was not trained; otherwise the tie is cut, with a warning.

    Args:
        model: Model with analog layers.

    Returns:
        ``model`` itself, now with plain torch layers.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 2))
        >>> report = convert_to_analog(model)
        >>> type(convert_to_digital(model)[0]).__name__
        'Linear'
    """
    _require_whole(model, "Let the run end that shards them")
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    replacements = {}
    for name, layer in analog_layers(model).items():
        _fold_scales_(name, layer, owners)
        replacements[id(layer)] = layer.to_digital()  # type: ignore[operator]
    _swap(model, replacements)
    return model


def _choices(
    model: nn.Module, selection: Selection
) -> Iterator[tuple[str, nn.Module, TileConfig | str]]:
    """Yield each layer with weights and its settings, or the reason why it is kept."""
    choices: dict[int, TileConfig | str] = {}
    idle: dict[int, str] = {}
    for name, module in model.named_modules():
        choice: TileConfig | str = reason_to_stay(module) or selection.choose(module)
        if not isinstance(choice, str) and not name:
            choice = "the model itself; wrap it in a parent, for example nn.Sequential(layer)"
        if not isinstance(choice, str) and id(module) in idle:
            choice = f"{idle[id(module)]} reads its weight and never calls it"
        for child in bypassed_children(module, not isinstance(choice, str)):
            idle[id(child)] = type(module).__name__
        choices[id(module)] = choice
    for name, module in weighted_layers(model).items():
        yield name, module, choices[id(module)]


def _made_analog(name: str, module: nn.Module, config: TileConfig) -> nn.Module:
    for key, parameter in module._parameters.items():
        if parameter is not None and not torch.isfinite(parameter).all():
            raise ValueError(
                f"Layer {name!r}: {key} holds NaN or infinite values; mend the checkpoint or the "
                "training before converting."
            )
    try:
        return analog_class(module).from_digital(module, config)
    except ValueError as error:
        raise ValueError(f"Layer {name!r}: {error}") from error


def _nothing_converted(report: ConversionReport) -> str:
    rows = [f"{row.name or 'the model'} ({row.type}): {row.reason}" for row in report.kept]
    shown = "; ".join(rows[:20]) + (f"; and {len(rows) - 20} more" if rows[20:] else "")
    return (
        f"No layer was converted to analog. Only {convertible_names()} can be; the model has: "
        f"{shown or 'no layer with weights'}."
    )


def _require_same(model: nn.Module, selection: Selection) -> None:
    """Raise if a model that is analog already is not what would be made of it now."""
    for name, module, choice in _choices(model, selection):
        if not is_analog(module):
            if isinstance(choice, TileConfig):
                raise ValueError(f"Layer {name!r} is digital, but {_OTHER_SELECTION}")
            continue
        wanted = selection.choose(module)
        if isinstance(wanted, str):
            raise ValueError(f"Layer {name!r} is analog ({wanted} now), but {_OTHER_SELECTION}")
        for array in tile_arrays(module):
            if array.config != wanted:
                raise ValueError(
                    f"Layer {name!r} is already analog with another config; call "
                    "convert_to_digital(model) before converting with a new one."
                )


_OTHER_SELECTION = (
    "the model was converted before, with other include, exclude or layers. Give the same again, "
    "several configs as layers={name: config}, or call convert_to_digital(model) before."
)


def _require_whole(model: nn.Module, remedy: str) -> None:
    if has_shards(model):
        raise ValueError(
            "Weights of the model are spread over processes, so its layers cannot be swapped: "
            f"torch keeps track of the old ones. {remedy}, or leave sharding to "
            "Trainer(strategy='aimc_fsdp'), which does it at the right time."
        )


def _fold_scales_(name: str, layer: nn.Module, owners: Mapping[int, int]) -> None:
    """Multiply trained output scales into the weights, without changing another module's."""
    for key, (array, weight) in analog_arrays(layer).items():
        folded = array.effective_weight(weight)
        if torch.equal(folded, weight.detach()):
            continue
        held_by = parameter_name(layer, key)
        parameter = getattr(layer, held_by)
        if owners.get(id(parameter), 1) > 1:
            warnings.warn(
                f"Layer {name!r} shares its {held_by} with another module; the tie is cut because "
                "its trained output scale is folded into the weight.",
                stacklevel=3,
            )
            copied = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            setattr(layer, held_by, copied)
        store_weight_(layer, key, folded)


def _swap(model: nn.Module, replacements: Mapping[int, nn.Module]) -> None:
    # The new layers are parents, too: an attention holds its output projection.
    for parent in [*model.modules(), *replacements.values()]:
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in replacements:
                parent._modules[name] = replacements[id(child)]
    close_shortcuts_(model)

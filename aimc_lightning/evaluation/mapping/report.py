"""Count tiles, products, conversions and devices of a model; print, save and draw them."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor, nn

from aimc_lightning.evaluation.mapping.count import count_samples, count_vectors
from aimc_lightning.evaluation.mapping.energy import (
    Constants,
    Estimate,
    estimate,
    list_constants,
    load_constants,
)
from aimc_lightning.evaluation.mapping.figure import tile_map_figure
from aimc_lightning.evaluation.mapping.layer import LayerMapping
from aimc_lightning.nn.base import analog_arrays, analog_layers, is_analog, matrix_name
from aimc_lightning.selection import weighted_layers
from aimc_lightning.tiles.array import TileArray

HEADER = (
    "layer", "type", "tiles", "rows", "columns", "utilisation", "weights", "devices",
    "digital weights", "MVMs", "DAC conversions", "ADC conversions",
)  # fmt: skip
COARSE = (
    "Energy and time are coarse: products on tiles alone, with published numbers of other chips."
)


@dataclass(frozen=True)
class MappingReport:
    """What a network takes on hardware; ``print`` shows a table. Made by :func:`mapping_report`.

    Attributes:
        layers: One entry per weight matrix on tiles, and one per layer that stays digital.
        samples: Samples in the pass that was counted; ``None`` if none was made.
        estimates: Coarse energy and time, one for each set of constants.
    """

    layers: tuple[LayerMapping, ...]
    samples: int | None
    estimates: tuple[Estimate, ...] = ()

    @property
    def tiles(self) -> int:
        """Number of crossbars in all."""
        return sum(layer.tiles for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Share of all tiles' cells in use, 0 to 1."""
        used = [layer for layer in self.layers if layer.tiles]
        cells = [sum(layer.rows) * sum(layer.columns) for layer in used]
        there = sum(n / (layer.utilisation or 1) for n, layer in zip(cells, used, strict=True))
        return sum(cells) / there if there else 0.0

    def total(self, count: str) -> float | None:
        """Return the sum of an attribute over all layers, for example ``"devices"``."""
        values = [getattr(layer, count) for layer in self.layers]
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    def cells(self) -> list[list[str]]:
        """Return the table as text, one list per layer and the total, in order of ``HEADER``."""
        total = ["all layers", "", str(self.tiles), "", "", _percent(self.utilisation)]
        total += [
            _number(self.total(count))
            for count in (
                "weights", "devices", "digital_weights", "mvms", "dac_conversions",
                "adc_conversions",
            )
        ]  # fmt: skip
        return [*(_cells(layer) for layer in self.layers), total]

    def to_csv(self, path: str | Path) -> None:
        """Write one line per layer, with plain numbers."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(HEADER)
            for layer in self.layers:
                rows, columns = ("+".join(map(str, sizes)) for sizes in (layer.rows, layer.columns))
                writer.writerow(
                    [
                        layer.name, layer.type, layer.tiles, rows, columns, layer.utilisation,
                        layer.weights, layer.devices, layer.digital_weights, layer.mvms,
                        layer.dac_conversions, layer.adc_conversions,
                    ]
                )  # fmt: skip

    def to_figure(self) -> Figure:
        """Return a picture of the tiles of each layer and how far they are used."""
        return tile_map_figure(self.layers)

    def __str__(self) -> str:
        """Return the table and the estimates as plain text."""
        table = [list(HEADER), *self.cells()]
        widths = [max(len(row[i]) for row in table) for i in range(len(HEADER))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        return "\n".join([*lines, *self.estimate_lines()])

    def estimate_lines(self) -> list[str]:
        """Return the estimates in words, each with its range, source and limits."""
        lines = [COARSE] if self.estimates else []
        for found in self.estimates:
            lines.append(
                f"{found.constants.title}: {found.energy_uj} uJ and {found.latency_us} us per "
                f"sample, one sample every {found.interval_us} us if layers overlap. Without "
                f"{found.constants.excludes}. Source: {found.constants.source}."
            )
        return lines

    def __rich__(self) -> Table:
        """Return the table for rich consoles."""
        table = Table(title="Mapping, per sample", caption="\n".join(self.estimate_lines()) or None)
        for index, column in enumerate(HEADER):
            table.add_column(column, justify="left" if index < 2 else "right", overflow="fold")
        *layers, total = self.cells()
        for row in layers:
            table.add_row(*row)
        table.add_section()
        table.add_row(*total)
        return table


def mapping_report(
    model: nn.Module,
    sample_input: Any = None,  # noqa: ANN401 - whatever the model takes
    *,
    constants: Sequence[str | Path | Constants] | None = None,
    samples: int | None = None,
    forward: Callable[[Any], object] | None = None,
) -> MappingReport:
    """Return how a model lies on tiles, and what one sample makes them do.

    Products are counted in one real pass over ``sample_input``, in evaluation mode. The model and
    torch's random state are left as they were.

    Args:
        model: Model with analog layers.
        sample_input: A batch, as the model takes it: a tensor, a tuple of arguments, or a mapping
            of keyword arguments. ``None`` makes no pass and leaves all counts per sample out.
        constants: Chips for the coarse estimate, names of
            :func:`~aimc_lightning.evaluation.mapping.energy.list_constants` or files; ``None``
            takes all that come with the package.
        samples: Samples in the batch; ``None`` takes the first axis of the first tensor.
        forward: Called with ``sample_input`` instead of the model.

    Raises:
        ValueError: If the model has no analog layer, constants are unknown, or no sample is found.

    Example:
        >>> import torch
        >>> from aimc_lightning.conversion import convert_to_analog
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(128, 10))
        >>> _ = convert_to_analog(model)
        >>> report = mapping_report(model, torch.zeros(2, 3, 4, 4))
        >>> [(layer.name, layer.mvms, layer.adc_conversions) for layer in report.layers]
        [('0', 16.0, 128.0), ('2', 1.0, 10.0)]
    """
    if not analog_layers(model):
        raise ValueError("The model has no analog layer; call convert_to_analog(model) first.")
    names = list_constants() if constants is None else constants
    chips = [c if isinstance(c, Constants) else load_constants(c) for c in names]
    if sample_input is None:
        return MappingReport(tuple(_layers(model, None)), None)
    if samples is None:
        samples = count_samples(sample_input)
    if samples < 1:
        raise ValueError(f"the batch holds {samples} samples; at least one is needed.")
    vectors = count_vectors(model, sample_input, forward)
    layers = list(_layers(model, {key: n / samples for key, n in vectors.items()}))
    return MappingReport(tuple(layers), samples, tuple(estimate(layers, chip) for chip in chips))


def _layers(model: nn.Module, vectors: dict[TileArray, float] | None) -> Iterator[LayerMapping]:
    """Yield all matrices on tiles and all digital layers, in the order of the model."""
    for name, layer in weighted_layers(model).items():
        own = sum(p.numel() for p in layer._parameters.values() if p is not None)
        if not is_analog(layer):
            if ".analog." not in f".{name}.":  # ranges and scales of tiles are no weights
                yield LayerMapping(name, type(layer).__name__, digital_weights=own)
            continue
        arrays = analog_arrays(layer)
        rest = own - sum(weight.numel() for _, weight in arrays.values())
        for key, (array, weight) in arrays.items():
            full = matrix_name(name, key, arrays)
            met = None if vectors is None else vectors.get(array, 0.0)
            yield _mapping(full, type(layer).__name__, array, weight, rest, met)
            rest = 0  # biases are listed with the first matrix


def _mapping(
    name: str, kind: str, array: TileArray, weight: Tensor, rest: int, vectors: float | None
) -> LayerMapping:
    config = array.config
    return LayerMapping(
        name,
        kind,
        rows=tuple(array.rows),
        columns=tuple(array.out_sizes),
        tile=(config.mapping.max_inputs, config.mapping.max_outputs),
        weights=weight.numel(),
        digital_weights=rest,
        devices=sum(array.rows) * len(weight) * config.chip.converter.devices_per_weight,
        groups=array.groups,
        vectors=vectors,
        passes=2 if config.distortion.polarity_std > 0 else 1,
        converts_inputs=config.dac.bits is not None,
        converts_outputs=config.adc.bits is not None,
    )


def _cells(layer: LayerMapping) -> list[str]:
    if not layer.tiles:
        digital = [layer.name, layer.type, "digital", *[""] * 5, _number(layer.digital_weights)]
        return [*digital, *[""] * 3]
    return [
        layer.name,
        layer.type,
        str(layer.tiles),
        _sizes(layer.rows),
        _sizes(layer.columns),
        _percent(layer.utilisation),
        _number(layer.weights),
        _number(layer.devices),
        _number(layer.digital_weights),
        _number(layer.mvms),
        _number(layer.dac_conversions),
        _number(layer.adc_conversions),
    ]


def _sizes(sizes: tuple[int, ...]) -> str:
    """Return sizes as text, equal ones together: (434, 433, 433) is ``434 + 2 x 433``."""
    counts = {size: sizes.count(size) for size in sizes}
    return " + ".join(f"{n} x {size}" if n > 1 else str(size) for size, n in counts.items())


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _number(count: float | None) -> str:
    if count is None:
        return "-"
    return f"{count:,.0f}" if float(count).is_integer() else f"{count:,.1f}"

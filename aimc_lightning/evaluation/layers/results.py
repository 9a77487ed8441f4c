"""Table, CSV and figure of a layer report."""

import csv
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Group
from rich.table import Table

from aimc_lightning.evaluation.figure import BLUE, ORANGE
from aimc_lightning.evaluation.rows import DriftRow
from aimc_lightning.times import format_time


@dataclass(frozen=True)
class LayerRow:
    """One matrix on tiles. A value that was not measured, or does not exist, is NaN.

    Attributes:
        name: Layer, followed by the name of the matrix if it has several.
        layer: Layer that was alone analog for ``lost``; matrices of one layer share these values.
        weights: Number of weights.
        share: The same over all weights on tiles.
        mvm_error: Root mean square of analog minus ideal product over that of the ideal one.
        signal_to_error_db: The same in decibel.
        clipped_inputs: Share of inputs beyond the input range.
        dac_use: Root mean square of the inputs over their range.
        clipped_outputs: Share of outputs at the bound of the ADC.
        adc_use: Root mean square of the outputs over their bound.
        kurtosis_before: Excess kurtosis of the weights before retraining, 0 for a Gaussian.
        kurtosis_after: The same of the weights now.
        lost: Score lost when this layer alone is analog, in units of the metric; positive is worse.
        lost_std: Its standard deviation over chips.
        a_star_lost: ``lost`` as a share of the distance from digital score to chance.
    """

    name: str
    layer: str
    weights: int
    share: float
    mvm_error: float
    signal_to_error_db: float
    clipped_inputs: float
    dac_use: float
    clipped_outputs: float
    adc_use: float
    kurtosis_before: float
    kurtosis_after: float
    lost: float
    lost_std: float
    a_star_lost: float


_KINDS: dict[str, Any] = {field.name: field.type for field in fields(LayerRow)}
_COLUMNS: dict[str, Callable[[LayerRow], str]] = {
    "layer": lambda row: row.name,
    "weights": lambda row: f"{row.weights:,}",
    "share": lambda row: _shown(100 * row.share, ".1f", " %"),
    "MVM error": lambda row: _shown(100 * row.mvm_error, ".1f", " %"),
    "signal to error": lambda row: _shown(row.signal_to_error_db, ".1f", " dB"),
    "clipped in": lambda row: _shown(100 * row.clipped_inputs, ".2f", " %"),
    "DAC use": lambda row: _shown(100 * row.dac_use, ".0f", " %"),
    "clipped out": lambda row: _shown(100 * row.clipped_outputs, ".2f", " %"),
    "ADC use": lambda row: _shown(100 * row.adc_use, ".0f", " %"),
    "kurtosis before": lambda row: _shown(row.kurtosis_before, ".2f"),
    "kurtosis": lambda row: _shown(row.kurtosis_after, ".2f"),
    "lost alone": lambda row: _shown(row.lost, ".3g"),
    "+-": lambda row: _shown(row.lost_std, ".1g"),
    "A* lost": lambda row: _shown(100 * row.a_star_lost, ".2f", " %"),
}
_OF_CONVERTERS = ("clipped in", "DAC use", "clipped out", "ADC use")
_OF_NETWORK = ("kurtosis before", "kurtosis", "lost alone", "+-", "A* lost")


@dataclass(frozen=True)
class LayerResults:
    """Result of :func:`~aimc_lightning.evaluation.layers.report.layer_report`.

    Attributes:
        layers: One row per matrix on tiles, in the order of the model.
        t_inference_s: Seconds since the end of programming.
        chips: Number of chips.
        metric: Metric of ``lost``; ``None`` if accuracy was not measured.
        digital: Its value with all layers digital.
        rows: Measurements of the network, one layer analog at a time.
        notes: Remarks.
    """

    layers: tuple[LayerRow, ...]
    t_inference_s: float
    chips: int
    metric: str | None = None
    digital: float | None = None
    rows: tuple[DriftRow, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def header(self) -> tuple[str, ...]:
        """Headings of the columns that hold a value."""
        return tuple(
            name for name in _COLUMNS if any(_COLUMNS[name](r) != "-" for r in self.layers)
        )

    def cells(self) -> list[list[str]]:
        """Return the table as text, one list per matrix."""
        return [[_COLUMNS[name](row) for name in self.header] for row in self.layers]

    @property
    def title(self) -> str:
        """What the table holds."""
        metric = "" if self.metric is None else f"; lost alone: {self.metric}"
        chips = f"{self.chips} chip{'s' if self.chips > 1 else ''}"
        return f"Layers at {format_time(self.t_inference_s)}, {chips}{metric}"

    def __str__(self) -> str:
        """Return the table as plain text."""
        lines = [list(self.header), *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *body, *self.notes])

    def __rich__(self) -> Group:
        """Return three tables for rich consoles, each fits into 80 columns."""
        later = (_OF_CONVERTERS, _OF_NETWORK)
        first = [name for name in self.header if not any(name in part for part in later)]
        parts = [first, *([n for n in self.header if n in ("layer", *part)] for part in later)]
        tables = [self._table(names, self.title if names is first else None) for names in parts]
        return Group(*(table for table in tables if len(table.columns) > 1), *self.notes)

    def _table(self, names: list[str], title: str | None) -> Table:
        table = Table(title=title, box=None, padding=(0, 1), pad_edge=False)
        for name in names:
            first = name == "layer"
            table.add_column(name, justify="left" if first else "right", no_wrap=first)
        for row in self.layers:
            table.add_row(*(_COLUMNS[name](row) for name in names))
        return table

    def to_csv(self, path: str | Path) -> None:
        """Write one line per matrix; time, chips and metric are repeated in each."""
        study = {"t_inference_s": self.t_inference_s, "chips": self.chips, "metric": self.metric}
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*study, *_KINDS])
            writer.writeheader()
            writer.writerows({**study, **asdict(row)} for row in self.layers)

    @classmethod
    def from_csv(cls, path: str | Path) -> "LayerResults":
        """Read what :meth:`to_csv` wrote; measurements of the whole network are not in it.

        Raises:
            ValueError: If it is not such a table.
        """
        with Path(path).open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        try:
            layers = tuple(
                LayerRow(**{name: kind(line[name]) for name, kind in _KINDS.items()})
                for line in lines
            )
            first = lines[0]
            time_s, chips = float(first["t_inference_s"]), int(first["chips"])
            return cls(layers, time_s, chips, first["metric"] or None)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a table of layers ({error!r}); give a file that to_csv wrote."
            ) from None

    def to_figure(self) -> Figure:
        """Return a figure: error of the product and, if measured, accuracy lost, per matrix."""
        lost = any(math.isfinite(row.lost) for row in self.layers)
        names = [row.name for row in self.layers]
        size = (9.0 if lost else 5.0, 1.5 + 0.22 * len(names))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        first, *rest = figure.subplots(1, 2 if lost else 1, sharey=True, squeeze=False)[0]
        first.barh(names, [100 * row.mvm_error for row in self.layers], color=BLUE)
        first.set_xlabel("MVM error on real inputs, %")
        first.invert_yaxis()
        for axes in rest:
            values, spread = [row.lost for row in self.layers], [r.lost_std for r in self.layers]
            axes.barh(names, values, xerr=spread, color=ORANGE, capsize=2)
            axes.set_xlabel(f"{self.metric} lost when alone analog")
        return figure

    def plot(self, path: str | Path) -> None:
        """Write :meth:`to_figure` to a file; its suffix chooses the format."""
        self.to_figure().savefig(Path(path), dpi=150)


def _shown(value: float, form: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"

"""Table, CSV and figure of a sensitivity study."""

import csv
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from aimc_lightning.evaluation.rows import DriftRow
from aimc_lightning.integration.times import format_time

_HEADER = (
    "nonideality", "acts on", "criterion", "standard", "tolerated", "limit at", "std", "multiple",
    "A* loss",
)  # fmt: skip

_SHORT = {"mvm_error": "MVM error", "iso_accuracy": "A*"}


@dataclass(frozen=True)
class Tolerance:
    """Largest amount that was measured to keep a limit.

    Attributes:
        name: Nonideality.
        acts_on: ``"signal"`` or ``"weight"``.
        criterion: ``"mvm_error"`` or ``"iso_accuracy"``.
        standard: Amount in the standard model.
        tolerated: Largest amount found to keep the limit.
        upper: Smallest amount found to break it; infinite if none did.
        limit_at: Amount at which the mean over chips crosses the limit, interpolated between
            measured amounts; NaN if nothing broke it.
        std: Standard deviation over chips of the amount at which each crosses the limit, by
            interpolation between the measured points; NaN with fewer than two that cross.
        drop_at_mvm: Loss of A*, as a fraction, at the amount of 20 % MVM error (interpolated for
            converters, which have whole bits only); NaN if that error is not reached.
    """

    name: str
    acts_on: str
    criterion: str
    standard: float
    tolerated: float
    upper: float
    limit_at: float
    std: float
    drop_at_mvm: float = math.nan

    @property
    def multiple(self) -> float | None:
        """Tolerated amount over the standard one, ``None`` where that is 0."""
        return self.tolerated / self.standard if self.standard > 0 else None


@dataclass(frozen=True)
class SensitivityResults:
    """Tolerances of a model at one time.

    Attributes:
        tolerances: Two per nonideality: by MVM error and by A*.
        t_inference_s: Seconds since the end of programming.
        chips: Number of chips.
        rows: All measurements of the network.
        nan_rows: How many of them are not finite; they count as A* wholly lost.
        skipped: Nonidealities that the model does not have, or not alike in all layers.
    """

    tolerances: list[Tolerance]
    t_inference_s: float
    chips: int
    rows: list[DriftRow]
    nan_rows: int
    skipped: tuple[str, ...] = ()

    def _cells(self) -> list[list[str]]:
        return [
            [
                t.name, t.acts_on, t.criterion, f"{t.standard:g}",
                f"{'>= ' if math.isinf(t.upper) else ''}{t.tolerated:.3g}",
                _shown(t.limit_at, ".3g"), _shown(t.std, ".1g"),
                "-" if t.multiple is None else f"{t.multiple:.2f} x",
                _shown(100 * t.drop_at_mvm, ".2f"),
            ]
            for t in self.tolerances
        ]  # fmt: skip

    def _title(self) -> str:
        nan = f", {self.nan_rows} rows with NaN" if self.nan_rows else ""
        skipped = f"; not in this model: {', '.join(self.skipped)}" if self.skipped else ""
        return f"Tolerated at {format_time(self.t_inference_s)}, {self.chips} chips{nan}{skipped}"

    def __str__(self) -> str:
        """Return the table as plain text."""
        lines = [list(_HEADER), *self._cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self._title(), *body])

    def __rich__(self) -> Table:
        """Return the table for rich consoles, without ``acts on``; fits into 80 columns."""
        table = Table(title=self._title(), box=None, collapse_padding=True, pad_edge=False)
        kept = [i for i, name in enumerate(_HEADER) if name != "acts on"]
        for i in kept:
            table.add_column(_HEADER[i], justify="left" if i < 3 else "right", no_wrap=i == 0)
        for cells in self._cells():
            table.add_row(*(_SHORT.get(cells[i], cells[i]) for i in kept))
        return table

    def to_csv(self, path: str | Path) -> None:
        """Write one line per tolerance."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(Tolerance.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(asdict(t) for t in self.tolerances)

    def plot(self, path: str | Path) -> None:
        """Draw the loss of A* at 20 % MVM error; the suffix chooses the format."""
        shown = [t for t in self.tolerances if not math.isnan(t.drop_at_mvm)]
        figure = Figure(figsize=(6.4, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        colors = ["#D55E00" if t.acts_on == "signal" else "#0072B2" for t in shown]
        axes.barh([t.name for t in shown], [100 * t.drop_at_mvm for t in shown], color=colors)
        axes.set_xlabel("loss of A* at 20 % MVM error (points); orange: signal, blue: weight")
        figure.savefig(Path(path), dpi=150)


def _shown(value: float, form: str) -> str:
    return "-" if math.isnan(value) else f"{value:{form}}"

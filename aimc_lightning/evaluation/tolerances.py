"""Table, CSV and figure of a sensitivity study."""

import csv
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from aimc_lightning.evaluation.figure import BLUE, ORANGE
from aimc_lightning.evaluation.rows import DriftRow
from aimc_lightning.times import format_time

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


_FIELDS = tuple(Tolerance.__dataclass_fields__)


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

    def cells(self) -> list[list[str]]:
        """Return the table as text, one line per tolerance."""
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

    @property
    def title(self) -> str:
        """What the table shows."""
        nan = f", {self.nan_rows} rows with NaN" if self.nan_rows else ""
        skipped = f"; not in this model: {', '.join(self.skipped)}" if self.skipped else ""
        return f"Tolerated at {format_time(self.t_inference_s)}, {self.chips} chips{nan}{skipped}"

    def __str__(self) -> str:
        """Return the table as plain text."""
        lines = [list(_HEADER), *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *body])

    def __rich__(self) -> Table:
        """Return the table for rich consoles, without ``acts on``; fits into 80 columns."""
        table = Table(title=self.title, box=None, collapse_padding=True, pad_edge=False)
        kept = [i for i, name in enumerate(_HEADER) if name != "acts on"]
        for i in kept:
            table.add_column(_HEADER[i], justify="left" if i < 3 else "right", no_wrap=i == 0)
        for cells in self.cells():
            table.add_row(*(_SHORT.get(cells[i], cells[i]) for i in kept))
        return table

    @property
    def header(self) -> tuple[str, ...]:
        """Columns of :meth:`cells`."""
        return _HEADER

    def to_csv(self, path: str | Path) -> None:
        """Write one line per tolerance, with the multiple of the standard amount and the time."""
        shared = {"t_inference_s": self.t_inference_s, "chips": self.chips}
        names = [*_FIELDS, "multiple", *shared]
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(
                {**asdict(t), "multiple": t.multiple, **shared} for t in self.tolerances
            )

    @classmethod
    def from_csv(cls, path: str | Path) -> "SensitivityResults":
        """Read what :meth:`to_csv` wrote; measurements and what was skipped are not in it.

        Raises:
            ValueError: If it is not such a table.
        """
        with Path(path).open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        try:
            found = [
                Tolerance(
                    line["name"],
                    line["acts_on"],
                    line["criterion"],
                    **{name: float(line[name]) for name in _FIELDS[3:]},
                )
                for line in lines
            ]
            time_s, chips = float(lines[0]["t_inference_s"]), int(lines[0]["chips"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a table of tolerances ({error!r}); give a file that to_csv wrote."
            ) from None
        return cls(found, time_s, chips, [], 0)

    def to_figure(self) -> Figure:
        """Return a figure: tolerated amounts in multiples, and loss of A* at 20 % MVM error."""
        names = list(dict.fromkeys(t.name for t in self.tolerances))
        figure = Figure(figsize=(4.8, 2.2 + 0.55 * len(names)), layout="constrained")
        FigureCanvasAgg(figure)
        tolerated, lost = figure.subplots(2, 1)
        for t in self.tolerances:
            low = t.criterion == "mvm_error"
            color = ORANGE if t.acts_on == "signal" else BLUE
            if t.multiple:
                place = names.index(t.name) + (-0.18 if low else 0.18)
                shade = 0.45 if low else 1.0
                # From 1 on: half of the standard amount reaches as far to the left as twice to the
                # right.
                tolerated.barh(place, t.multiple - 1, 0.34, left=1, color=color, alpha=shade)
            if not math.isnan(t.drop_at_mvm):
                lost.barh(names.index(t.name), 100 * t.drop_at_mvm, 0.7, color=color)
        tolerated.set_xscale("log")
        tolerated.axvline(1, color="black", linestyle="--", linewidth=1)
        tolerated.set_xlabel("tolerated, as a multiple of the standard amount")
        tolerated.set_title("by MVM error (pale) and by A* (full)", fontsize="medium")
        lost.set_xlabel("loss of A* at 20 % MVM error, in points")
        for axes in (tolerated, lost):
            axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
            axes.set_ylim(len(names) - 0.5, -0.5)
        figure.supxlabel("orange acts on the signal, blue on the weights", fontsize="medium")
        return figure

    def plot(self, path: str | Path) -> None:
        """Write the figure; the suffix chooses the format."""
        self.to_figure().savefig(Path(path), dpi=150)


def _shown(value: float, form: str) -> str:
    return "-" if math.isnan(value) else f"{value:{form}}"

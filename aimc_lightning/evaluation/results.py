"""Rows of a drift evaluation and what follows from them: spread, normalised accuracy, verdict."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table
from scipy import stats  # type: ignore[import-untyped]

from aimc_lightning.evaluation.figure import drift_figure
from aimc_lightning.evaluation.metrics import is_share, lower_is_better
from aimc_lightning.evaluation.rows import DriftRow, write_rows
from aimc_lightning.evaluation.summary import DriftSummary
from aimc_lightning.times import format_time


@dataclass(frozen=True)
class DriftResults:
    """Result of :func:`~aimc_lightning.evaluation.sweep.evaluate_drift`; ``print`` shows a table.

    The normalised accuracy is ``(score - chance) / (digital - chance)``: 1 is the digital model, 0
    a random guess. The same formula serves scores and errors.

    Attributes:
        rows: All measurements but the digital one.
        metric: Name of the metric.
        digital: Score of the digital model; ``None`` if unknown.
        chance: Score of a random guess; ``None`` if unknown.
        share: Normalised accuracy from which on a model counts as iso-accurate.
        confidence: Level of the confidence interval.
        notes: Remarks on where digital score and chance come from.

    Source:
        Definitions of normalised accuracy and iso-accuracy (99 %): Rasch et al., Nature
        Communications 14, 5282 (2023).

    Example:
        >>> row = DriftRow("hwa", 0, 3600.0, "acc", 0.91, 0, "")
        >>> results = DriftResults([row], "acc", digital=0.92, chance=0.1)
        >>> round(results.summary()[0].a_star, 3)
        0.988
    """

    rows: Sequence[DriftRow]
    metric: str
    digital: float | None = None
    chance: float | None = None
    share: float = 0.99
    confidence: float = 0.95
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.share > 0:
            raise ValueError(f"share is {self.share}; it must be above 0, e.g. 0.99.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; it must be between 0 and 1.")
        if self.digital is None or self.chance is None:
            return
        lower = lower_is_better(self.metric)
        worse = self.digital >= self.chance if lower else self.digital <= self.chance
        if worse:
            raise ValueError(
                f"The digital model scores {self.digital:g} in {self.metric}, a random guess "
                f"{self.chance:g}: the normalised accuracy has no meaning when the digital model "
                f"is not better than chance ({'lower' if lower else 'higher'} is better). Check "
                "digital and chance, and whether both are fractions or both percent."
            )

    @property
    def scale(self) -> float:
        """100 if the metric is a share given in percent, else 1."""
        values = [abs(row.value) for row in self.rows if row.is_finite]
        if self.digital is not None:
            values.append(abs(self.digital))
        return 100.0 if is_share(self.metric) and max(values, default=0.0) > 1.5 else 1.0

    def a_star(self, score: float) -> float | None:
        """Return the normalised accuracy of a score as a fraction."""
        if self.digital is None or self.chance is None:
            return None
        return (score - self.chance) / (self.digital - self.chance)

    def summary(self) -> list[DriftSummary]:
        """Return one entry per stage and time, directly mapped first, times ascending."""
        keys = dict.fromkeys((row.stage, row.t_inference_s) for row in self.rows)
        stages = list(dict.fromkeys(stage for stage, _ in keys))
        networks = {"direct": 0, "hwa": 1}

        def place(key: tuple[str, float]) -> tuple[int, int, float]:
            stage, time_s = key
            return networks.get(stage.split("+")[0], 2), stages.index(stage), time_s

        ordered = sorted(keys, key=place)
        return [self._summarise(stage, time_s) for stage, time_s in ordered]

    def _summarise(self, stage: str, time_s: float) -> DriftSummary:
        rows = [row for row in self.rows if (row.stage, row.t_inference_s) == (stage, time_s)]
        values = [row.value for row in rows if row.is_finite]
        mean = statistics.fmean(values) if values else math.nan
        std = statistics.stdev(values) if len(values) > 1 else 0.0
        half = math.inf
        if len(values) > 1:
            quantile = float(stats.t.ppf(0.5 + self.confidence / 2, len(values) - 1))
            half = quantile * std / math.sqrt(len(values))
        a_star = self.a_star(mean) if values else None
        return DriftSummary(
            stage,
            time_s,
            chips=len(values),
            nan_chips=len(rows) - len(values),
            mean=mean,
            std=std,
            interval=(mean - half, mean + half),
            a_star=a_star,
            iso_accuracy=None if a_star is None else a_star >= self.share,
        )

    def to_csv(self, path: str | Path) -> None:
        """Write all rows as CSV."""
        write_rows(path, self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain data; scores that are shares become fractions of 1."""

        def score(value: float | None) -> float | None:
            return None if value is None or not math.isfinite(value) else value / self.scale

        return {
            "metric": self.metric,
            "chance": score(self.chance),
            "digital": score(self.digital),
            "summary": [
                {
                    "stage": entry.stage,
                    "t_inference_s": entry.t_inference_s,
                    "chips": entry.chips,
                    "mean": score(entry.mean),
                    "std": score(entry.std),
                    "a_star": entry.a_star,
                    "iso_accuracy": entry.iso_accuracy,
                }
                for entry in self.summary()
            ],
        }

    def to_json(self, path: str | Path) -> None:
        """Write :meth:`to_dict` as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def to_figure(self) -> Figure:
        """Return a figure: digital, directly mapped and trained, over a logarithmic time axis."""
        limit = None
        if self.digital is not None and self.chance is not None:
            limit = self.chance + self.share * (self.digital - self.chance)
        return drift_figure(
            self.summary(),
            self.metric,
            digital=self.digital,
            iso_score=limit,
            iso_label=f"A* = {100 * self.share:g} %",
        )

    def plot(self, path: str | Path) -> None:
        """Write :meth:`to_figure` to a file; its suffix chooses the format."""
        self.to_figure().savefig(Path(path), dpi=150)

    def __str__(self) -> str:
        """Return the table as plain text."""
        header, body = self._cells()
        widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [header, *body]
        ]
        return "\n".join([self._title(), *lines, *self.notes])

    def __rich__(self) -> Table:
        """Return the table for rich consoles."""
        header, body = self._cells()
        table = Table(*header, title=self._title(), caption="\n".join(self.notes) or None)
        for row in body:
            table.add_row(*row)
        return table

    def _title(self) -> str:
        direction = " (lower is better)" if lower_is_better(self.metric) else ""
        return f"Drift evaluation: {self.metric}{direction}"

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        iso = f"A* >= {100 * self.share:g} %"
        level = f"{100 * self.confidence:g} % interval"
        header = ["stage", "time", "chips", "mean +- std", level, "A*", iso]
        body = []
        if self.digital is not None:
            body.append(["digital", "", "", f"{self.digital:.4g}", "", "", ""])
        for entry in self.summary():
            chips = f"{entry.chips}" + (f" (+{entry.nan_chips} NaN)" if entry.nan_chips else "")
            bounded = math.isfinite(entry.interval[0])
            low, high = entry.interval
            verdict = {None: "-", True: "yes", False: "no"}[entry.iso_accuracy]
            body.append(
                [
                    entry.stage,
                    format_time(entry.t_inference_s),
                    chips,
                    f"{entry.mean:.4g} +- {entry.std:.2g}",
                    f"{low:.4g} to {high:.4g}" if bounded else "-",
                    "-" if entry.a_star is None else f"{100 * entry.a_star:.2f} %",
                    verdict,
                ]
            )
        return header, body

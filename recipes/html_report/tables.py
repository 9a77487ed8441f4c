"""Tables of the report as plain text cells, so that the page's template holds no formulas."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aimc_lightning.config import TileConfig
from aimc_lightning.evaluation.mapping.report import HEADER
from aimc_lightning.evaluation.summary import stage_label
from aimc_lightning.explain.stages import explain
from aimc_lightning.recipes.html_report.run_data import RunData
from aimc_lightning.times import format_time


@dataclass(frozen=True)
class PageTable:
    """A table of the page.

    Attributes:
        title: Its caption.
        header: Names of the columns.
        rows: Text of the cells.
        total: A last row that sorting leaves in its place.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] = field(default=())


def drift_cells(run: RunData) -> PageTable:
    """Return score, spread and normalised accuracy at each time: the data of the drift curve."""
    assert run.results is not None
    header = ["network", "time", "chips", run.results.metric, "spread", "A*", "iso-accurate"]
    rows = []
    if run.results.digital is not None:
        rows.append(["digital", "", "", f"{run.results.digital:.4f}", "", "100.00 %", ""])
    for entry in run.results.summary():
        failed = f" (+{entry.nan_chips} NaN)" if entry.nan_chips else ""
        rows.append(
            [
                stage_label(entry.stage),
                format_time(entry.t_inference_s),
                f"{entry.chips}{failed}",
                f"{entry.mean:.4f}",
                f"{entry.std:.4f}",
                "-" if entry.a_star is None else f"{100 * entry.a_star:.2f} %",
                {None: "-", True: "yes", False: "no"}[entry.iso_accuracy],
            ]
        )
    return PageTable(f"{run.label}: mean and standard deviation over chips", header, rows)


def layer_cells(run: RunData) -> PageTable:
    """Return tiles, counts and weight statistics of each layer."""
    assert run.mapping is not None
    stages = {stage: {w.name: w for w in found} for stage, found in run.weights.items()}
    names = {"digital": "kurtosis digital", "hwa": "kurtosis HWA", "network": "kurtosis"}
    header = [*HEADER, *(names[stage] for stage in stages)]
    *layers, total = run.mapping.cells()
    rows = []
    for row in layers:
        known = [found.get(row[0]) for found in stages.values()]
        rows.append([*row, *("" if w is None else _kurtosis(w.kurtosis) for w in known)])
    return PageTable(
        f"{run.label}: layers, counts per sample (click a heading to sort)",
        header, rows, [*total, *("" for _ in stages)],
    )  # fmt: skip


def cost_cells(run: RunData) -> PageTable:
    """Return the coarse energy and time of one sample, with what they leave out and sources."""
    assert run.mapping is not None
    header = [
        "chip", "energy in uJ", "time in us", "interval if layers overlap, in us", "without",
        "source",
    ]  # fmt: skip
    rows = [
        [
            found.constants.title, str(found.energy_uj), str(found.latency_us),
            str(found.interval_us), found.constants.excludes, found.constants.source,
        ]
        for found in run.mapping.estimates
    ]  # fmt: skip
    return PageTable(
        f"{run.label}: coarse energy and time of one sample, typical (low to high)", header, rows
    )


def weight_cells(run: RunData) -> PageTable:
    """Return what the picture of conductances shows, as numbers."""
    header = ["layer"]
    for stage in run.weights:
        header += [f"mean magnitude {stage}", f"excess kurtosis {stage}"]
    rows = []
    for entries in zip(*run.weights.values(), strict=True):
        row = [entries[0].name]
        for entry in entries:
            row += [f"{entry.mean_magnitude:.3f}", _kurtosis(entry.kurtosis)]
        rows.append(row)
    return PageTable(f"{run.label}: normalised weights", header, rows)


def config_cells(title: str, config: TileConfig) -> PageTable:
    """Return each stage of the signal chain with its setting, meaning and source."""
    rows = [[s.part, s.name, s.setting, s.meaning, s.source] for s in explain(config)]
    return PageTable(title, ["part", "stage", "setting", "meaning", "source"], rows)


def _kurtosis(value: float) -> str:
    return f"{value:.2f}"

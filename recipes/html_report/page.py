"""Put figures, tables and sentences together into one HTML page that opens from disk."""

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from aimc_lightning.evaluation.mapping.report import COARSE
from aimc_lightning.recipes.html_report.figures import (
    comparison_figure,
    conductance_figure,
    drift_figure,
)
from aimc_lightning.recipes.html_report.run_data import RunData
from aimc_lightning.recipes.html_report.svg import inline_svg
from aimc_lightning.recipes.html_report.tables import (
    PageTable,
    config_cells,
    cost_cells,
    drift_cells,
    layer_cells,
    weight_cells,
)
from aimc_lightning.recipes.html_report.verdict import verdict
from aimc_lightning.recipes.versions import collect_versions


@dataclass
class Section:
    """A part of the page: sentences, then figures, then tables."""

    title: str
    texts: list[str] = field(default_factory=list)
    figures: list[tuple[Markup, str]] = field(default_factory=list)
    tables: list[PageTable] = field(default_factory=list)


def render_page(runs: list[RunData], title: str = "Analog in-memory computing: report") -> str:
    """Return the whole page; styles, script and figures are inside, nothing is fetched.

    Args:
        runs: Runs to compare, at least one.
        title: Title of the page.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_resource("page.html.j2"))
    return template.render(
        title=title,
        runs=runs,
        verdicts={run.label: verdict(run.results) for run in runs},
        sections=[
            _drift(runs), _sensitivity(runs), _layers(runs), _conductances(runs), _tiles(runs),
            _configuration(runs),
        ],
        versions=collect_versions(),
        style=Markup(_resource("page.css")),
        script=Markup(_resource("page.js")),
    )  # fmt: skip


def _drift(runs: list[RunData]) -> Section:
    section = Section("Accuracy over time")
    measured = {run.label: run.results for run in runs if run.results is not None}
    if len(measured) > 1:
        text = f"Normalised accuracy over time of {', '.join(measured)}"
        _add(section, comparison_figure(measured), "compare", text)
    for index, run in enumerate(runs):
        if run.results is None:
            section.texts.append(f"{run.label}: no chip was measured yet.")
            continue
        text = f"{run.label}: {run.results.metric} over time after programming"
        _add(section, drift_figure(run.results), f"drift{index}", text)
        section.tables.append(drift_cells(run))
    return section


def _sensitivity(runs: list[RunData]) -> Section:
    section = Section("What limits it: sensitivity")
    for index, run in enumerate(runs):
        found = run.sensitivity
        if found is None:
            section.texts.append(
                f"{run.label}: tolerances were not measured "
                "('aimc-lightning sensitivity RUN' does)."
            )
            continue
        section.tables.append(PageTable(f"{run.label}: {found.title}", found.header, found.cells()))
        text = f"{run.label}: tolerated amount of each nonideality"
        _add(section, found.to_figure(), f"sensitivity{index}", text)
    return section


def _layers(runs: list[RunData]) -> Section:
    section = Section("Layers", [COARSE])
    for run in runs:
        if run.mapping is None:
            section.texts.append(f"{run.label}: not shown, see the notes above.")
            continue
        section.tables.append(layer_cells(run))
        if run.mapping.estimates:
            section.tables.append(cost_cells(run))
    for index, run in enumerate(runs):
        if run.layers is None:
            section.texts.append(
                f"{run.label}: single layers were not measured ('aimc-lightning layers RUN' does)."
            )
            continue
        section.tables.append(
            PageTable(f"{run.label}: {run.layers.title}", run.layers.header, run.layers.cells())
        )
        text = f"{run.label}: error of the product and accuracy lost, layer by layer"
        _add(section, run.layers.to_figure(), f"layers{index}", text)
    return section


def _conductances(runs: list[RunData]) -> Section:
    section = Section("Conductances")
    section.texts.append(
        "Weights of all layers as they are programmed, before any noise. Each layer is scaled so "
        "that its largest weight takes the largest conductance; an excess kurtosis below 0 is more "
        "compact than a Gaussian and uses the range better."
    )
    for index, run in enumerate(runs):
        if not run.weights:
            section.texts.append(f"{run.label}: no weights were given.")
            continue
        text = f"{run.label}: distribution of target conductances, {' and '.join(run.weights)}"
        _add(section, conductance_figure(run.weights), f"conductance{index}", text)
        section.tables.append(weight_cells(run))
    return section


def _tiles(runs: list[RunData]) -> Section:
    section = Section("Tile map")
    for index, run in enumerate(runs):
        if run.mapping is None:
            section.texts.append(f"{run.label}: not shown, see the notes above.")
            continue
        share = f"{100 * run.mapping.utilisation:.1f} %"
        section.texts.append(
            f"{run.label}: {run.mapping.tiles} tiles, {share} of their cells used."
        )
        text = f"{run.label}: tiles of each layer and how far they are used"
        _add(section, run.mapping.to_figure(), f"tiles{index}", text)
    return section


def _configuration(runs: list[RunData]) -> Section:
    section = Section("Configuration explained")
    shared: list[tuple[Any, list[str]]] = []
    for run in runs:
        for config in run.configs:
            known = next((labels for other, labels in shared if other == config), None)
            if known is None:
                shared.append((config, [run.label]))
            elif run.label not in known:
                known.append(run.label)
    section.tables = [
        config_cells(f"The chain in its order: {', '.join(labels)}", config)
        for config, labels in shared
    ]
    if not shared:
        section.texts.append("No run could be read as far as its settings, see the notes above.")
    return section


def _add(section: Section, figure: Figure, key: str, text: str) -> None:
    section.figures.append((Markup(inline_svg(figure, key, text)), text))


def _resource(name: str) -> str:
    folder = Path(str(files("aimc_lightning.recipes.html_report")))
    return (folder / name).read_text(encoding="utf-8")

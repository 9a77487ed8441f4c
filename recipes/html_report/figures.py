"""Figures of the report; each is a plain function for a notebook as well."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from aimc_lightning.evaluation.layers.weights import BINS, LayerWeights
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.summary import stage_label
from aimc_lightning.times import format_time

# Palette of Okabe and Ito; markers and line styles differ as well.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_SIZE = (4.4, 3.8)  # inches; small, so that the text stays readable on a phone


def drift_figure(results: DriftResults) -> Figure:
    """Draw score over time of one run, with the spread over chips.

    Args:
        results: Rows of a run.

    Returns:
        A matplotlib figure that belongs to no window.
    """
    figure = results.to_figure()
    figure.set_size_inches(*_SIZE)
    return figure


def comparison_figure(runs: Mapping[str, DriftResults]) -> Figure:
    """Draw normalised accuracy over time of several runs, with the spread over chips.

    Args:
        runs: Results by label; those without a chance level are left out.

    Returns:
        A matplotlib figure that belongs to no window.
    """
    figure, axes = _figure((4.4, 3.4 + 0.4 * len(runs)))
    times: dict[float, str] = {}
    for index, (label, results) in enumerate(runs.items()):
        color, marker = _COLORS[index % 6], _MARKERS[index % 6]
        for stage, line in (("direct", ":"), ("hwa", "-")):
            found = [e for e in results.summary() if e.stage == stage and e.a_star is not None]
            if not found or results.digital is None or results.chance is None:
                continue
            at = [max(entry.t_inference_s, 0.1) for entry in found]
            times |= {
                x: format_time(entry.t_inference_s) for x, entry in zip(at, found, strict=True)
            }
            scale = 100 / abs(results.digital - results.chance)
            axes.errorbar(
                at, [100 * (entry.a_star or 0) for entry in found],
                yerr=[scale * entry.std for entry in found], color=color, marker=marker,
                linestyle=line, capsize=3, label=f"{label}, {stage_label(stage)}",
            )  # fmt: skip
    axes.axhline(99, color="gray", linestyle="--", label="iso-accuracy, 99 %")
    axes.set_xscale("log")
    axes.set_xticks(list(times), list(times.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="time after programming", ylabel="normalised accuracy A* in %")
    figure.legend(loc="outside lower center", ncols=1, fontsize="small")
    return figure


def conductance_figure(weights: Mapping[str, Sequence[LayerWeights]]) -> Figure:
    """Draw how the weights of all layers spread over the conductance range, digital against HWA.

    Args:
        weights: Distributions by stage.

    Returns:
        A matplotlib figure that belongs to no window.
    """
    figure, axes = _figure(_SIZE)
    for index, (stage, layers) in enumerate(weights.items()):
        counts = np.sum([layer.counts for layer in layers], axis=0)
        g_max = max(layer.g_max_us for layer in layers)
        edges = np.linspace(0, g_max, BINS + 1)
        axes.stairs(
            100 * counts / counts.sum(), edges, color=_COLORS[index], linewidth=2,
            linestyle=("-", "--")[index % 2], label=stage_label(stage),
        )  # fmt: skip
    axes.set(xlabel="target conductance in uS", ylabel="share of weights in %")
    axes.set_yscale("log")
    axes.legend(fontsize="small")
    return figure


def _figure(size: tuple[float, float]):  # noqa: ANN202 - figure and axes
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()

"""Figure of a drift evaluation: score over time after programming."""

import itertools
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from aimc_lightning.evaluation.summary import DriftSummary, stage_label
from aimc_lightning.times import format_time

# From the palette of Okabe and Ito, which readers with colour vision deficiency can tell apart;
# markers differ as well.
BLUE, ORANGE = "#0072B2", "#D55E00"
_STYLES = {"direct": (ORANGE, "s"), "hwa": (BLUE, "o")}
_VARIANT_COLORS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#000000")
_VARIANT_MARKERS = ("D", "v", "^", "P", "X", "*", "<")


def drift_figure(
    summary: Sequence[DriftSummary],
    metric: str,
    *,
    digital: float | None = None,
    iso_score: float | None = None,
    iso_label: str = "iso-accuracy",
) -> Figure:
    """Draw mean and spread over chips of each stage, over time on a logarithmic axis.

    Args:
        summary: Lines to draw.
        metric: Name of the vertical axis.
        digital: Score of the digital model, a dashed line.
        iso_score: Score from which on the model is iso-accurate, a dotted line.
        iso_label: Its label.

    Returns:
        A matplotlib figure that belongs to no window.

    Example:
        >>> line = DriftSummary("hwa", 1.0, 2, 0, 0.9, 0.01, (0.8, 1.0), None, None)
        >>> len(drift_figure([line], "acc", digital=0.92).axes)
        1
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    variants = zip(itertools.cycle(_VARIANT_COLORS), itertools.cycle(_VARIANT_MARKERS))
    for stage in dict.fromkeys(entry.stage for entry in summary):
        entries = [entry for entry in summary if entry.stage == stage]
        color, marker = _STYLES[stage] if stage in _STYLES else next(variants)
        axes.errorbar(
            [_position(entry) for entry in entries],
            [entry.mean for entry in entries],
            yerr=[entry.std for entry in entries],
            label=stage_label(stage),
            color=color,
            marker=marker,
            capsize=3,
        )
    if digital is not None:
        axes.axhline(digital, color="black", linestyle="--", label="digital")
    if iso_score is not None:
        axes.axhline(iso_score, color="gray", linestyle=":", label=iso_label)
    axes.set_xscale("log")
    times = {_position(entry): format_time(entry.t_inference_s) for entry in summary}
    axes.set_xticks(list(times), list(times.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("time after programming")
    axes.set_ylabel(f"{metric} (bars: standard deviation over chips)", fontsize="small")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure


def _position(entry: DriftSummary) -> float:
    return max(entry.t_inference_s, 0.1)  # a logarithmic axis has no place for 0

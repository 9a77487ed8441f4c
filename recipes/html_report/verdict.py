"""The result of a run in words: how accurate, for how long, how sure, and what retraining adds."""

import math

from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.summary import DriftSummary
from aimc_lightning.times import format_time


def verdict(results: DriftResults | None) -> list[str]:
    """Return a few sentences on a run, the verdict first.

    Args:
        results: Rows of a run; None if nothing was measured.

    Example:
        >>> from aimc_lightning.evaluation.rows import DriftRow
        >>> rows = [DriftRow("hwa", chip, 3600.0, "acc", 0.9, 0, "") for chip in (0, 1)]
        >>> verdict(DriftResults(rows, "acc", digital=0.902, chance=0.1))[0][:40]
        'Iso-accurate at all measured times, up t'
    """
    if results is None:
        return ["Nothing was measured on chips yet."]
    summary = results.summary()
    stages = {entry.stage for entry in summary}
    best = "hwa" if "hwa" in stages else summary[0].stage
    entries = [entry for entry in summary if entry.stage == best]
    how = "After retraining" if best == "hwa" else "Directly mapped, without retraining"
    if any(entry.a_star is None for entry in entries):
        last = entries[-1]
        return [
            f"{how}: {results.metric} {last.mean:.4g} +- {last.std:.2g} at "
            f"{format_time(last.t_inference_s)}. Without chance level and digital score there is "
            "no verdict."
        ]
    sentences = [_duration(results, entries), f"{how}: {_levels(entries)}."]
    sentences += _doubts(results, entries)
    if best == "hwa" and "direct" in stages:
        sentences.append(_gain(entries[-1], summary))
    failed = sum(entry.nan_chips for entry in summary)
    if failed:
        sentences.append(f"{failed} measurements gave no number; they are in no mean.")
    return sentences


def _duration(results: DriftResults, entries: list[DriftSummary]) -> str:
    share = f"{100 * results.share:g} %"
    held = []
    for entry in entries:
        if not entry.iso_accuracy:
            break
        held.append(entry)
    last = format_time(entries[-1].t_inference_s)
    if len(held) == len(entries):
        return f"Iso-accurate at all measured times, up to {last}: A* is at least {share}."
    lost = entries[len(held)]
    when = f"{format_time(lost.t_inference_s)} ({100 * (lost.a_star or 0):.1f} %)"
    if not held:
        return f"Not iso-accurate: A* is below {share} already at {when}."
    until = format_time(held[-1].t_inference_s)
    return f"Iso-accurate up to {until}; A* is below {share} at {when}."


def _levels(entries: list[DriftSummary]) -> str:
    levels = [
        f"{100 * (entry.a_star or 0):.1f} % at {format_time(entry.t_inference_s)}"
        for entry in entries
    ]
    return f"A* {', '.join(levels)}, mean of {entries[-1].chips} chips"


def _doubts(results: DriftResults, entries: list[DriftSummary]) -> list[str]:
    """Return a warning if intervals of the mean hold the limit, or are not known."""
    doubtful = []
    for entry in entries:
        bounds = [results.a_star(value) for value in entry.interval if math.isfinite(value)]
        if len(bounds) < 2:
            return ["One chip tells nothing about the spread between chips; measure more."]
        low, high = sorted(bound for bound in bounds if bound is not None)
        if low < results.share <= high:
            time = format_time(entry.t_inference_s)
            doubtful.append(f"{time} ({100 * low:.1f} to {100 * high:.1f} %)")
    if not doubtful:
        return []
    level = f"{100 * results.confidence:g} %"
    return [
        f"Not certain at {', '.join(doubtful)}: there the {level} interval of A* holds the limit; "
        "measure more chips."
    ]


def _gain(last: DriftSummary, summary: list[DriftSummary]) -> str:
    time = format_time(last.t_inference_s)
    for entry in summary:
        if entry.stage == "direct" and entry.t_inference_s == last.t_inference_s:
            gain = 100 * ((last.a_star or 0) - (entry.a_star or 0))
            return (
                f"Mapped without retraining A* is {100 * (entry.a_star or 0):.1f} % at {time}: "
                f"retraining changes it by {gain:+.1f} points."
            )
    return f"The directly mapped network was not measured at {time}."

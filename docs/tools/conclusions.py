"""The page that holds the published study's conclusions against our own measurements."""

import csv
import json
import math
import statistics
from pathlib import Path
from typing import Any

from aimc_lightning.zoo.registry import get_entry

#: What each group of nonidealities disturbs.
GROUPS = {
    "inputs": ("dac_bits", "input_noise"),
    "outputs": ("adc_bits", "output_noise", "s_shape"),
    "weights": ("short_read_noise", "read_noise", "programming_noise", "drift_spread"),
}
_BITS = 8  # of the standard DAC; tolerances count those taken away
_INTRODUCTION = """# Do the published conclusions hold here?

[Rasch et al. 2023](https://doi.org/10.1038/s41467-023-40770-4) drew conclusions about which effects
limit which networks. This page holds them against the networks whose checkpoints ship with this
package, at one hour after programming, without retraining. Each effect is raised alone on top of
the standard model, as [`sensitivity`][aimc_lightning.evaluation.sensitivity.sensitivity] does. The
page is made from the files in `benchmarks/conclusions/`, and these by
`python benchmarks/conclusions.py ENTRY`.

These networks are far smaller than those of the study, so a difference says that the size of
network and task matters, not that the study is wrong."""

Rows = dict[tuple[str, str], dict[str, str]]


def page(root: Path) -> str:
    """Return the page, made from ``benchmarks/conclusions/*.csv``.

    Args:
        root: Folder of the repository.
    """
    found = {path.stem: _read(path) for path in sorted(root.glob("benchmarks/conclusions/*.csv"))}
    spared = {
        path.name.removesuffix(".spared.json"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(root.glob("benchmarks/conclusions/*.spared.json"))
    }
    parts = [_INTRODUCTION, _equal_errors(found), _tolerances(found)]
    return "\n\n".join([*parts, *([_spared(spared)] if spared else []), ""])


def loss(rows: Rows, group: str) -> float:
    """Return the mean loss of A* over a group of effects, each at 20 % error of the product."""
    losses = [float(rows[name, "mvm_error"]["drop_at_mvm"]) for name in GROUPS[group]]
    return statistics.fmean(value for value in losses if not math.isnan(value))


def _read(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["name"], row["criterion"]): row for row in csv.DictReader(file)}


def _equal_errors(found: dict[str, Rows]) -> str:
    lines = [
        "## Input and output noise cost more than weight noise at equal error of the product",
        "Loss of A* in points when one effect alone raises the error of a bare product to 20 %, "
        "mean over the effects of a group: "
        + "; ".join(f"{group}: {', '.join(names)}" for group, names in GROUPS.items())
        + ".",
        "| network | inputs | outputs | weights | outputs cost more | inputs cost more |\n"
        "|---|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        inputs, outputs, weights = (100 * loss(rows, group) for group in GROUPS)
        lines[-1] += (
            f"\n| `{name}` | {inputs:.2f} | {outputs:.2f} | {weights:.2f} "
            f"| {_yes(outputs > weights)} | {_yes(inputs > weights)} |"
        )
    return "\n\n".join(lines)


def _tolerances(found: dict[str, Rows]) -> str:
    lines = [
        "## How much each network tolerates",
        "Largest amount that keeps the loss of A* within one point. PCM noise is a multiple of the "
        "measured device's; the study finds 3.3 for its LSTM and 1.2 for ResNet-18, converters "
        "that may go from 8 to 6 input bits, 0.42 % to 4 % of devices stuck at zero, and harm from "
        "0.05 % stuck at random.",
        "| network | task | PCM noise | input bits needed | output noise | IR drop | stuck at zero "
        "| stuck at random |\n|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        cells = [
            f"`{name}`",
            get_entry(name).task,
            _amount(rows, "programming_noise", "{:.2f}"),
            f"{_BITS - int(float(rows['dac_bits', 'iso_accuracy']['tolerated']))}",
            _amount(rows, "output_noise", "{:.2f}"),
            _amount(rows, "ir_drop", "{:.0f}"),
            _amount(rows, "stuck_zero", "{:.2%}"),
            _amount(rows, "stuck_random", "{:.2%}"),
        ]
        lines[-1] += f"\n| {' | '.join(cells)} |"
    return "\n\n".join(lines)


def _spared(found: dict[str, dict[str, Any]]) -> str:
    lines = [
        "## Sparing a few layers restores iso-accuracy",
        "The networks that ship hold 99 % for a year as they are; on devices with more programming "
        "noise they do not. These are the fewest weights to put on devices without noise and drift "
        "for 99 % after a year, found by "
        "[`assign_digital`][aimc_lightning.evaluation.layers.assign.assign_digital] with "
        "`--spare X` at X times the noise. The study spares 2 % to 11 % of the weights.",
        "| network | noise | A* before | share spared | A* then | layers | sets measured |\n"
        "|---|---|---|---|---|---|---|",
    ]
    for name, outcome in found.items():
        cells = [
            f"`{name}`",
            f"{outcome['noise']:g} x",
            f"{outcome['before']:.2%}",
            f"{outcome['share']:.1%}",
            f"{outcome['after']:.2%}",
            ", ".join(outcome["layers"]) or "none needed",
            str(outcome["sets"]),
        ]
        lines[-1] += f"\n| {' | '.join(cells)} |"
    return "\n\n".join(lines)


def _amount(rows: Rows, name: str, form: str) -> str:
    row = rows[name, "iso_accuracy"]
    least = ">= " if math.isinf(float(row["upper"])) else ""
    return least + form.format(float(row["tolerated"]))


def _yes(holds: bool) -> str:
    return "yes" if holds else "**no**"

"""Draw the figures of the docs: ``python -m docs.tools.figures [NAME ...]``."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn

from aimc_lightning.devices import DualPair, HermesDevice, PCMDevice, SinglePair
from aimc_lightning.evaluation.mvm_error import mvm_error
from aimc_lightning.functional.ir_drop_exact import compare_ir_drop
from aimc_lightning.nn.base import program_
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.presets import get_preset
from aimc_lightning.recipes.publish import read_results
from aimc_lightning.times import format_time

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "figures"
SIZES = (16, 32, 64, 128, 256, 512, 1024)
_YEAR_S = 31536000.0
_TIMES = {"1 s": 1.0, "1 h": 3600.0, "1 d": 86400.0, "1 y": _YEAR_S}
_BLUE, _GREEN, _RED = "#0072B2", "#009E73", "#D55E00"
#: Pictures of one effect alone, strong enough to be seen: settings, inputs of the column.
STAGES: dict[str, tuple[dict[str, Any], int]] = {
    "input_range": ({"input_range.mode": "fixed", "input_range.initial": 0.7}, 1),
    "dac": ({"dac.bits": 4}, 1),
    "input_asymmetry": ({"dac.asymmetry": 0.3}, 1),
    "input_noise": ({"noise.input_std": 0.05}, 1),
    "ir_drop": ({"ir_drop.scale": 1.0}, 512),
    "voltage_offset": ({"distortion.v_offset_std": 0.2, "distortion.v_offset_w_min": 0.0}, 1),
    "series_resistance": (
        {"distortion.r_series": 0.5, "distortion.v_offset_w_min": 0.0, "adc.bound": 10.0}, 1,
    ),
    "read_polarity": ({"distortion.polarity_std": 0.2}, 1),
    "read_noise": ({"noise.read_std": 0.1}, 1),
    "s_shape": ({"distortion.out_nonlinearity": 1.0, "adc.bound": 1.0}, 1),
    "output_noise": ({"noise.output_std": 0.05}, 1),
    "output_asymmetry": ({"adc.asymmetry": 0.3}, 1),
    "adc": ({"adc.bits": 4, "adc.bound": 0.7}, 1),
}  # fmt: skip


def stage(name: str) -> Figure:
    """Draw the output of one column over its ideal output with a single effect switched on."""
    settings, inputs = STAGES[name]
    torch.manual_seed(1)
    x = torch.linspace(-1, 1, 401).unsqueeze(1).expand(-1, inputs).contiguous()
    digital = nn.Linear(inputs, 1, bias=False)
    nn.init.ones_(digital.weight)
    tile = AnalogLinear.from_digital(digital, get_preset("ideal").with_values(settings))
    chip = nn.Sequential(tile).eval()
    program_(chip, seed=3)  # offsets and polarity belong to a chip
    with torch.no_grad():
        ideal, y = digital(x), chip(x)
    figure, (axes,) = _canvas(1, (3.2, 2.5))
    axes.plot(ideal, ideal, color="gray", linestyle=":", label="ideal")
    axes.plot(ideal, y, "." if "noise" in name else "-", ms=3, color=_BLUE, label="with it")
    axes.set(xlabel="ideal output", ylabel="output")
    axes.legend(fontsize="small")
    return figure


def programming() -> Figure:
    """Draw programming noise and drift exponents over the target conductance."""
    figure, (left, right) = _canvas(2, (8.0, 3.0))
    for device, color in ((PCMDevice(), _BLUE), (HermesDevice(), _RED)):
        target = torch.linspace(0, device.g_max_us, 26).repeat(40_000, 1)
        generator = torch.Generator().manual_seed(0)
        spread = device.program(target, generator=generator).std(0)
        nu = device.draw_drift(target, generator=generator)
        left.plot(target[0], spread, color=color, label=device.name)
        right.errorbar(target[0], nu.mean(0), nu.std(0), color=color, label=device.name, capsize=2)
    left.set(xlabel="target in µS", ylabel="standard deviation in µS", title="programming noise")
    right.set(xlabel="target in µS", ylabel="drift exponent", title="mean and spread")
    left.legend(fontsize="small")
    right.legend(fontsize="small")
    return figure


def drift() -> Figure:
    """Draw conductances over time, and the error of a product with and without compensation."""
    figure, (left, right) = _canvas(2, (8.0, 3.0))
    device, generator = PCMDevice(), torch.Generator().manual_seed(0)
    for share, color in ((1.0, _BLUE), (0.5, _GREEN), (0.1, _RED)):
        target = torch.full((20_000,), share * device.g_max_us)
        g_prog, nu = device.program_chip(target, generator=generator)
        aged = [device.read(g_prog, nu, target, t, generator=generator) for t in _TIMES.values()]
        left.errorbar(
            list(_TIMES.values()), [float(g.mean()) for g in aged], [float(g.std()) for g in aged],
            color=color, marker="o", ms=4, capsize=3, label=f"target {target[0]:g} µS",
        )  # fmt: skip
    for kind, color in (("none", _RED), ("global", _BLUE), ("column", _GREEN)):
        tile = get_preset("standard_pcm").with_values({"chip.compensation": kind})
        errors = [100 * mvm_error(tile, t) for t in _TIMES.values()]
        right.plot(list(_TIMES.values()), errors, "o-", ms=4, color=color, label=kind)
    left.set(ylabel="conductance in µS", title="drift and 1/f noise of PCM")
    right.set(ylabel="error of a product in %", title="compensation", ylim=(0, None))
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(list(_TIMES.values()), list(_TIMES))
        axes.set_xlabel("time after programming")
        axes.legend(fontsize="small")
    return figure


def converters() -> Figure:
    """Draw the conductances that stand for a weight."""
    figure, panels = _canvas(2, (8.0, 3.0))
    weight = torch.linspace(-1, 1, 201).unsqueeze(0)
    for axes, converter in zip(panels, (SinglePair(), DualPair(factors=(1.0, 4.0))), strict=True):
        found, _ = converter.to_conductances(weight, 25.0)
        for index, (g, style) in enumerate(zip(found, ("-", "--", "-", "--"), strict=False)):
            sign, pair = "+-"[index % 2], "" if len(found) == 2 else f", pair {index // 2 + 1}"
            color = (_BLUE, _RED)[index // 2]
            axes.plot(weight[0], g[0], style, color=color, label=f"g{sign}{pair}")
        axes.set(xlabel="weight", ylabel="conductance in µS", title=converter.name)
        axes.legend(fontsize="small")
    return figure


def ir_drop_sizes() -> Figure:
    """Draw the exact and the approximate IR drop over array sizes, and the error left over."""
    figure, panels = _canvas(2, (8.0, 3.4), sharey=True)
    for axes, signed in zip(panels, (True, False), strict=True):
        generator = torch.Generator().manual_seed(0)
        rows = compare_ir_drop(SIZES, signed=signed, generator=generator)
        for name, label, style in (
            ("exact_drop", "drop, exact", "k-"),
            ("approximate_drop", "drop, approximation", "C0--"),
            ("error", "error of the approximation", "C3o-"),
        ):
            axes.loglog(SIZES, [getattr(row, name) for row in rows], style, ms=4, label=label)
        axes.set_title(f"weights and inputs of {'both signs' if signed else 'one sign'}")
        axes.set_xlabel("inputs of the array")
        axes.set_xticks(SIZES, [str(size) for size in SIZES])
        axes.minorticks_off()
        for row in rows:
            numbers = (f"{100 * part:.3g}" for part in row[1:])
            print("| " + " | ".join([str(row[0]), *numbers]) + " |")
    panels[0].set_ylabel("relative to the ideal outputs")
    panels[0].legend()
    return figure


def year() -> Figure:
    """Draw measured accuracies of two networks of the zoo over a year."""
    figure, panels = _canvas(2, (8.0, 3.0))
    for axes, name in zip(panels, ("resnet32_cifar10", "resnet8_digits"), strict=True):
        rows = read_results(ROOT / "zoo" / name / "results.csv")
        (digital,) = (float(row["mean"]) for row in rows if row["stage"] == "digital")
        axes.axhline(100 * digital, color="black", linewidth=1, label="digital")
        for stage_name, label, style, color in (
            ("hwa", "hardware-aware training", "o-", _BLUE),
            ("direct", "mapped as it is", "s--", _RED),
        ):
            found = [row for row in rows if row["stage"] == stage_name]
            means, spreads = ([100 * float(row[key]) for row in found] for key in ("mean", "std"))
            times = [float(row["t_inference_s"]) for row in found]
            axes.errorbar(
                times, means, spreads, fmt=style, ms=4, capsize=3, color=color, label=label
            )
        axes.set_xscale("log")
        axes.set_xticks(times, [format_time(time) for time in times])
        axes.set(title=name, xlabel="time after programming")
    panels[0].set_ylabel("accuracy in %")
    panels[0].legend(fontsize="small")
    return figure


def digest(figure: Figure) -> str:
    """Return a hash of the lines drawn, which tells whether a picture shows today's numbers."""
    lines = [line.get_xydata().tolist() for axes in figure.axes for line in axes.lines]
    return hashlib.sha256(repr(lines).encode()).hexdigest()[:16]


def save(name: str) -> None:
    """Draw a figure into ``docs/figures``, with the hash of its lines."""
    figure = FIGURES[name]()
    metadata = {"Software": None, "Digest": digest(figure)}
    figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata=metadata)


def _canvas(panels: int, size: tuple[float, float], sharey: bool = False) -> tuple[Figure, Any]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = [*figure.subplots(1, panels, sharey=sharey, squeeze=False)[0]]
    for one in axes:
        one.grid(alpha=0.3)
    return figure, axes


FIGURES: dict[str, Callable[[], Figure]] = {
    "programming": programming,
    "drift": drift,
    "converters": converters,
    "ir_drop_sizes": ir_drop_sizes,
    "year": year,
    **{f"stage_{name}": (lambda name=name: stage(name)) for name in STAGES},
}


def main() -> None:
    """Write the figures named on the command line, without names all of them."""
    unknown = [name for name in sys.argv[1:] if name not in FIGURES]
    if unknown:
        sys.exit(f"no figure {', '.join(unknown)}; there are {', '.join(FIGURES)}.")
    for name in sys.argv[1:] or FIGURES:
        save(name)
        print(f"drew {name}")


if __name__ == "__main__":
    main()

"""Time and memory of training and evaluation with simulated hardware, as ratios to plain torch.

``python benchmarks/run.py`` writes ``results.json``, ``results.md`` and ``results.png`` into this
folder. All variants of one network are timed in turn in one process with one allocator setting.
"""

import argparse
import copy
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from allocator import restart_with_kept_memory

if __name__ == "__main__":
    restart_with_kept_memory()

import torch
from cases import (
    CASES,
    FOR_GPU,
    Case,
    analog,
    evaluation_step,
    programmed,
    training_step,
    variants,
)
from measure import interleaved, peak_memory_mb
from report import write_report
from rivals import rivals
from torch import nn

from aimc_lightning import program_, set_time_

_HERE = Path(__file__).parent
_TIMES_S = (1.0, 3600.0, 86_400.0, 31_536_000.0)


def main() -> None:
    """Measure what the arguments name and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=list(CASES),
                        help="default: all on a GPU, the smaller ones on a CPU")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=7, help="rounds of the interleaved timing")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch on the CPU")
    parser.add_argument("--out", type=Path, default=_HERE, help="folder of the results")
    parser.add_argument("--memory", metavar="VARIANT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    on_cpu = arguments.device == "cpu"
    names = arguments.cases or [name for name in CASES if not (on_cpu and name in FOR_GPU)]
    if arguments.memory:
        print(_memory_of(arguments.memory))
        return
    results: dict[str, Any] = {"machine": _machine(arguments), "time": {}}
    for name in names:
        results["time"][name] = _time(name, arguments.repeats, torch.device(arguments.device))
        print(name, json.dumps(results["time"][name]), flush=True)
        for rival, times in _time_rivals(name).items() if on_cpu else ():
            results.setdefault("rivals", {}).setdefault(rival, {})[name] = times
            print(rival, json.dumps(times), flush=True)
    if on_cpu and "resnet32" in names:
        results["memory"] = {name: _memory(name) for name in ("plain", *variants())}
        results["drift"] = _drift()
        results["scaling"] = _scaling(arguments.repeats)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_report(results, arguments.out)
    print(f"written: {arguments.out / 'results.md'}")


def _models(name: str, device: torch.device) -> tuple[Case, dict[str, nn.Module]]:
    torch.manual_seed(0)
    case = CASES[name]()
    case.model.to(device)
    case.inputs = tuple(x.to(device) for x in case.inputs)
    models = {"plain": case.model}
    for variant, config in variants().items():
        other = replace(case, model=copy.deepcopy(case.model))
        models[variant] = analog(other, config)
    return case, models


def _time(name: str, repeats: int, device: torch.device) -> dict[str, Any]:
    case, models = _models(name, device)
    for model in models.values():
        model.train()
    train = interleaved({v: training_step(case, m) for v, m in models.items()}, repeats)
    for variant, model in models.items():
        model.eval() if variant == "plain" else programmed(model)
    evaluate = interleaved({v: evaluation_step(case, m) for v, m in models.items()}, repeats)
    return {"train": train, "eval": evaluate}


def _time_rivals(name: str) -> dict[str, Any]:
    """Time the rivals that are there, each against plain torch, two rounds of both."""
    torch.manual_seed(0)
    case = CASES[name]()
    found = rivals(lambda: copy.deepcopy(case.model))
    result: dict[str, Any] = {}
    for rival, build in found.items():
        model, optimizer = build()
        steps = {
            "plain": training_step(case, case.model.train()),
            "rival": training_step(case, model.train(), optimizer),
        }
        train = interleaved(steps, 2)
        forwards = {
            "plain": evaluation_step(case, case.model.eval()),
            "rival": evaluation_step(case, model.eval()),
        }
        result[rival] = {"train": train, "eval": interleaved(forwards, 2)}
    return result


def _memory_of(variant: str) -> float:
    """Return the memory, in MB, that two training steps of ResNet-32 take beyond the model."""
    case = CASES["resnet32"]()
    if variant != "plain":
        case.model = analog(
            Case(case.model, tuple(x[:2] for x in case.inputs), case.loss), variants()[variant]
        )
    before = peak_memory_mb()
    step = training_step(case, case.model)
    step()
    step()
    return peak_memory_mb() - before


def _memory(variant: str) -> float:
    """Measure in a process of its own, which holds nothing of the others."""
    command = [sys.executable, __file__, "--memory", variant]
    return float(subprocess.check_output(command, text=True).split()[-1])


def _aged_chips(model: nn.Module, forward: Callable[[], None], chips: int) -> Callable[[], None]:
    """Return what programmes chips one after the other and measures each at four times."""

    def evaluate() -> None:
        for chip in range(chips):
            program_(model, seed=chip)
            for time_s in _TIMES_S:
                set_time_(model, time_s, seed=chip)
                forward()

    return evaluate


def _drift() -> dict[str, Any]:
    """Time 5 chips at 4 times on one batch, chips programmed anew, against as many forwards."""
    case, models = _models("resnet32", torch.device("cpu"))
    plain = evaluation_step(case, models["plain"].eval())
    model = models["full"].eval()
    full = _aged_chips(model, evaluation_step(case, model), 5)
    return interleaved({"plain": lambda: [plain() for _ in range(20)], "full": full}, 3)


#: What the cost is measured against, and the standard values of what is not varied.
_SCALES = {
    "tile size": (128, 256, 512, 1024),
    "batch size": (1, 16, 128, 512),
    "layers": (1, 4, 16),
    "chips": (1, 5, 25),
}
_STANDARD = {"tile size": 512, "batch size": 512, "layers": 1}


def _linear_stack(size: dict[str, int]) -> tuple[Case, nn.Module]:
    """Return layers of 1024 x 1024, and the same on tiles."""
    torch.manual_seed(0)
    layers = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(size["layers"])))
    inputs = (torch.randn(size["batch size"], 1024),)
    case = Case(layers, inputs, lambda m, i: m(i[0]).square().mean())
    tile = size["tile size"]
    config = variants()["full"].with_values(
        {"mapping.max_inputs": tile, "mapping.max_outputs": tile}
    )
    return case, analog(Case(copy.deepcopy(layers), inputs, case.loss), config)


def _scaling(repeats: int) -> dict[str, Any]:
    """Return ratios of the full model over each scale: training, or evaluation over chips."""
    result: dict[str, Any] = {}
    for key, values in _SCALES.items():
        for value in values:
            case, model = _linear_stack({**_STANDARD, key: value})
            if key == "chips":
                plain, ours = evaluation_step(case, case.model), evaluation_step(case, model.eval())
                steps = {
                    "plain": lambda n=value, f=plain: [f() for _ in range(4 * n)],
                    "full": _aged_chips(model, ours, value),
                }
            else:
                steps = {
                    "plain": training_step(case, case.model),
                    "full": training_step(case, model),
                }
            times = interleaved(steps, repeats)
            ratio = times["full"].median / times["plain"].median
            result.setdefault(key, {})[str(value)] = ratio
    return result


def _machine(arguments: argparse.Namespace) -> dict[str, str]:
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    device = {}
    if arguments.device != "cpu":
        name = torch.cuda.get_device_name()
        device = {"device": arguments.device}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        **device,
        "hardware": f"{name}, {arguments.threads} threads",
        "load": f"{load:.1f} at the start",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "repeats": str(arguments.repeats),
    }


if __name__ == "__main__":
    main()

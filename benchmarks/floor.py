"""The least time that the simulated hardware can take, from operations, bytes and measured rates.

``python benchmarks/floor.py``, behind ``run.py``, counts what the model adds to a plain step
(products with |W|, random numbers, bytes through the converters), measures how fast this machine
does each of them alone, and writes the least ratio to plain torch into ``results.json``. Products
are taken at the speed of bfloat16 and each byte is moved once: what is left between floor and
measurement are calls, cache misses and work that does not vectorise.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from allocator import restart_with_kept_memory

if __name__ == "__main__":
    restart_with_kept_memory()

import copy

import numpy as np
import torch
from cases import CASES, Case, analog, evaluation_step, training_step, variants
from measure import interleaved
from report import write_report

from aimc_lightning import mapping_report
from aimc_lightning.functional.cpu_normals import draw_normals

_HERE = Path(__file__).parent
#: Cases whose products are matrix products; a convolution in bfloat16 has a speed of its own.
_NAMES = ("linear", "bert", "lstm")
# Bytes of one value. Inputs: read as float32, written as codes for the product and for the backward
# pass; for |W| also as |x|, x^2 and coarse x in bfloat16.
_INPUT = {"reduced": 4 + 4 + 1, "full": 4 + 4 + 1 + 3 * 2}
# Outputs: product read, output and codes written; with |W| also three products in float32 read.
_OUTPUT = {"reduced": 4 + 4 + 1, "full": 4 + 4 + 1 + 3 * 4}
# Weights in training: read, written with noise; with |W| also |W| and position-weighted |W|.
_WEIGHT = {"reduced": 4 + 4, "full": 4 + 4 + 2 * 2}
# Backward pass: gradient of the outputs read with the codes, written without the clipped; the same
# of the inputs.
_BACKWARD = 4 + 1 + 4


class Counts(NamedTuple):
    """What one batch makes the analog layers do."""

    products: float  # multiply-accumulates of the weights with the inputs
    inputs: float  # values through DACs
    outputs: float  # values through ADCs, one random number each
    weights: float


class Rates(NamedTuple):
    """What the machine does in a second."""

    products: float  # multiply-accumulates in bfloat16
    normals: float
    bytes: float


def counts(case: Case) -> Counts:
    """Return what one batch of a case with analog layers makes them do."""
    layers = mapping_report(case.model.eval(), case.inputs[0], samples=1).layers
    on_tiles = [layer for layer in layers if layer.tiles]
    return Counts(
        sum((layer.vectors or 0) * layer.weights for layer in on_tiles),
        sum(layer.dac_conversions or 0 for layer in on_tiles),
        sum(layer.adc_conversions or 0 for layer in on_tiles),
        sum(layer.weights for layer in on_tiles),
    )


def rates(rows: int) -> Rates:
    """Measure the machine at the sizes that occur.

    Args:
        rows: Rows of the matrix products.
    """
    x, w = torch.randn(rows, 512).bfloat16(), torch.randn(512, 512).bfloat16()
    numbers = np.empty(1 << 20, np.float32)
    a = torch.randn(1 << 19)
    b = torch.empty_like(a)
    steps: dict[str, Callable[[], object]] = {
        "products": lambda: [x @ w.T for _ in range(8)],
        "normals": lambda: draw_normals(numbers, 1),
        "bytes": lambda: [torch.neg(a, out=b) for _ in range(8)],
    }
    times = {name: timing.median for name, timing in interleaved(steps, 30).items()}
    return Rates(
        8 * x.numel() * 512 / times["products"],
        numbers.size / times["normals"],
        8 * 2 * a.numel() * 4 / times["bytes"],
    )


def least(n: Counts, speed: Rates, variant: str) -> dict[str, float]:
    """Return the seconds that a variant adds at least to a plain training step and evaluation."""
    products = 3 * n.products / speed.products if variant == "full" else 0.0
    moved = n.inputs * _INPUT[variant] + n.outputs * _OUTPUT[variant]
    evaluate = products + n.outputs / speed.normals + moved / speed.bytes
    backward = (n.inputs + n.outputs) * _BACKWARD / speed.bytes
    weights = n.weights * _WEIGHT[variant] / speed.bytes + n.weights / speed.normals
    return {"train": evaluate + backward + weights, "eval": evaluate}


def main() -> None:
    """Measure, and put the floors into the results of ``run.py``."""
    results = json.loads((_HERE / "results.json").read_text())
    for name in _NAMES:
        torch.manual_seed(0)
        case = CASES[name]()
        mapped = analog(Case(copy.deepcopy(case.model), case.inputs, case.loss), variants()["full"])
        n = counts(Case(mapped, case.inputs, case.loss))
        steps = {
            "train": training_step(case, case.model.train()),
            "eval": evaluation_step(case, case.model),
        }
        plain = {mode: timing.median for mode, timing in interleaved(steps, 5).items()}
        speed = rates(512)
        results.setdefault("floor", {})[name] = {
            mode: {v: 1 + least(n, speed, v)[mode] / plain[mode] for v in ("reduced", "full")}
            for mode in plain
        }
        print(name, n, speed, plain, results["floor"][name], sep="\n  ", flush=True)
    write_report(results, _HERE)


if __name__ == "__main__":
    main()

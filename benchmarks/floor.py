"""The least time that the simulated hardware can take, from operations, bytes and measured rates.

``python benchmarks/floor.py``, behind ``run.py``, counts what the model adds to a plain step
(products with |W|, random numbers, bytes through the converters), measures how fast this machine
does each of them alone, and writes the least ratio to plain torch into ``results.json``. Each byte
is moved once: what is left between floor and measurement are calls, cache misses and work that does
not vectorise. Products are those of the kernels: where the CPU has instructions for 8-bit integers,
two of these take the place of each in float32, forward and for the gradient of the weights, and
|W| takes three more; elsewhere |W| takes three in bfloat16.
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
from aimc_lightning.functional.fused_integers import has_integer_instructions

_HERE = Path(__file__).parent
#: Cases whose products are matrix products; a convolution in bfloat16 has a speed of its own.
_NAMES = ("linear", "bert", "lstm")
# Bytes of one value. Inputs: read as float32, written as 8-bit codes; for |W| also as |x| and x^2.
_INPUT = {"reduced": 4 + 1, "full": 4 + 3 * 1}
# Outputs: two sums of integers read, output and codes written; with |W| three more sums read.
_OUTPUT = {"reduced": 2 * 4 + 4 + 1, "full": 5 * 4 + 4 + 1}
# Weights in training: read, written with noise and as two integers; with |W| two more of these.
_WEIGHT = {"reduced": 4 + 4 + 2, "full": 4 + 4 + 4}
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

    floats: float  # multiply-accumulates in float32
    halves: float  # in bfloat16
    integers: float  # of 8 bits
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
    x, w = torch.randn(rows, 512), torch.randn(512, 512)
    x_half, w_half = x.bfloat16(), w.bfloat16()
    x_int, w_int = x.to(torch.int8), w.to(torch.int8)
    numbers = np.empty(1 << 20, np.float32)
    a = torch.randn(1 << 19)
    b = torch.empty_like(a)
    steps: dict[str, Callable[[], object]] = {
        "floats": lambda: [x @ w.T for _ in range(8)],
        "halves": lambda: [x_half @ w_half.T for _ in range(8)],
        "integers": lambda: [torch._int_mm(x_int, w_int.T) for _ in range(8)],
        "normals": lambda: draw_normals(numbers, 1),
        "bytes": lambda: [torch.neg(a, out=b) for _ in range(8)],
    }
    times = {name: timing.median for name, timing in interleaved(steps, 30).items()}
    products = 8 * x.numel() * 512
    return Rates(
        products / times["floats"],
        products / times["halves"],
        products / times["integers"],
        numbers.size / times["normals"],
        8 * 2 * a.numel() * 4 / times["bytes"],
    )


def least(n: Counts, speed: Rates, variant: str) -> dict[str, float]:
    """Return the seconds that a variant adds at least to a plain training step and evaluation."""
    more = 3 * n.products if variant == "full" else 0.0
    gained = 0.0  # by each product that integers take over
    products = more / speed.halves
    if has_integer_instructions():
        gained = n.products * (1 / speed.floats - 2 / speed.integers)
        products = more / speed.integers - gained
    moved = n.inputs * _INPUT[variant] + n.outputs * _OUTPUT[variant]
    evaluate = products + n.outputs / speed.normals + moved / speed.bytes
    backward = (n.inputs + n.outputs) * _BACKWARD / speed.bytes
    weights = n.weights * _WEIGHT[variant] / speed.bytes + n.weights / speed.normals
    return {"train": evaluate - gained + backward + weights, "eval": evaluate}


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

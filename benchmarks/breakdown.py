"""Where the time of a step goes: why a goal of ``run.py`` is met or missed.

``python benchmarks/breakdown.py``, behind ``run.py``, times the parts of training and evaluation
with the simulated hardware, each without the parts inside it, and writes them into
``results.json`` as shares of a plain step. The timers themselves cost about a microsecond a call.
"""

import copy
import functools
import json
import time
from collections import Counter
from collections.abc import Callable
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
from report import write_report
from torch import Tensor

from aimc_lightning.functional import fused, fused_backward, kernels
from aimc_lightning.functional.cpu_product import RowProduct
from aimc_lightning.functional.product import StackedProduct
from aimc_lightning.functional.recurrent_cells import LSTMGates
from aimc_lightning.tiles import array, sequence, tile

_HERE = Path(__file__).parent
_WEIGHTS, _OUTPUTS = "weights and their noise", "noise, IR drop and ADC"
_BACK = "converters in the backward pass"
_STEPS = "steps of an LSTM: converters, noise, sums"
_CALLS = "calls and memory around the kernels"
#: Functions whose time is taken, and what they do. Products are told apart by their weights.
_TIMED = [
    (kernels, "fused_weights", _WEIGHTS), (tile, "mapping_scale", _WEIGHTS),
    (fused, "_dac", "DAC"), (fused, "integer_dac", "DAC"), (fused, "_adc", _OUTPUTS),
    (fused_backward, "_enter", _BACK), (fused_backward, "_leave", _BACK),
    (fused_backward, "_sums_of_few", _BACK), (fused_backward, "integer_weight_gradient", _BACK),
    (tile, "analog_mvm", _CALLS), (kernels, "fused_backward", _CALLS),
    (array, "added", "partial sums of tiles"),
    (sequence.StepProduct, "step", _STEPS), (sequence.StepGradient, "step", _STEPS),
    (sequence.StepGradient, "finish", _STEPS),
    (LSTMGates, "forward", "gates of an LSTM"), (LSTMGates, "backward", "gates of an LSTM"),
    (RowProduct, "forward", None), (RowProduct, "backward", None),
    (StackedProduct, "forward", None), (StackedProduct, "pair", None), (torch, "bmm", None),
    (torch, "_int_mm", "products with 8-bit integers"),
]  # fmt: skip
_REST = "plain layers, loss, optimizer, rest"


class Stopwatch:
    """Adds up the seconds spent in functions, each without the timed functions it calls."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = [0.0]  # seconds in timed functions, for each that is running

    def wrap(self, function: Callable[..., Any], label: str | None) -> Callable[..., Any]:
        """Return the function with a timer around it."""

        @functools.wraps(function)
        def timed(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - any function
            begin = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **options)
            finally:
                whole = time.perf_counter() - begin
                self.seconds[label or _product(args)] += whole - self._inner.pop()
                self._inner[-1] += whole

        return timed


def _product(args: tuple[Any, ...]) -> str:
    half = any(isinstance(value, Tensor) and value.dtype == torch.bfloat16 for value in args)
    return "products for IR drop and read noise, bfloat16" if half else "products with W"


def breakdown(
    step: Callable[[], None], plain: Callable[[], None], watch: Stopwatch, seconds: float = 3.0
) -> dict[str, float]:
    """Return the parts of a step in multiples of a plain step, both taken in turn."""
    step()
    plain()
    watch.seconds.clear()
    whole = base = 0.0
    while whole < seconds:
        begin = time.perf_counter()
        plain()
        middle = time.perf_counter()
        step()
        base += middle - begin
        whole += time.perf_counter() - middle
    parts = {label: part / base for label, part in watch.seconds.most_common()}
    return {**parts, _REST: whole / base - sum(parts.values())}


def main() -> None:
    """Measure, and put the parts into the results of ``run.py``."""
    results = json.loads((_HERE / "results.json").read_text())
    watch = Stopwatch()
    for owner, name, label in _TIMED:
        setattr(owner, name, watch.wrap(getattr(owner, name), label))
    for name in (name for name in CASES if name not in FOR_GPU):
        torch.manual_seed(0)
        case = CASES[name]()
        models = {
            variant: analog(Case(copy.deepcopy(case.model), case.inputs, case.loss), config)
            for variant, config in variants().items()
        }
        found = results.setdefault("breakdown", {})[name] = {}
        for mode, make_step in (("train", training_step), ("eval", evaluation_step)):
            plain = make_step(case, case.model.train(mode == "train"))
            for variant, model in models.items():
                ready = model.train() if mode == "train" else programmed(model)
                found[f"{variant}, {mode}"] = breakdown(make_step(case, ready), plain, watch)
        print(name, json.dumps(found, indent=1), flush=True)
    write_report(results, _HERE)


if __name__ == "__main__":
    main()

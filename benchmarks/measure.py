"""Interleaved timing of callables in one process, and peak memory of a process."""

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch


class Timing(NamedTuple):
    """Seconds of one callable: median, smallest and largest of the repetitions."""

    median: float
    low: float
    high: float


def interleaved(steps: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Time callables in turn, ``repeats`` times each, after one round that is not counted.

    A machine that slows down meanwhile slows all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(repeats + 1):
        for name, step in steps.items():
            begin = _now()
            step()
            if round_number > 0:
                seconds[name].append(_now() - begin)
    return {
        name: Timing(statistics.median(values), min(values), max(values))
        for name, values in seconds.items()
    }


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far; Linux only.

    Not ``getrusage``, whose maximum is that of the parent process at first.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("The kernel does not tell VmHWM in /proc/self/status.")

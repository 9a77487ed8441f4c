"""The inner loop of a sweep: programme a chip, let it age, run the data, keep the row."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loops import _EvaluationLoop
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import nn

from aimc_lightning.checkpoint import analog_metadata, state_fingerprint
from aimc_lightning.evaluation.batch_norm import batch_norm_of_chip
from aimc_lightning.evaluation.harness import Pass, measured_passes
from aimc_lightning.evaluation.metrics import choose_metric
from aimc_lightning.evaluation.ranks import each_rank_alone
from aimc_lightning.evaluation.rows import DriftRow, RowFile
from aimc_lightning.integration.digital import digital_layers
from aimc_lightning.integration.finite import InputWatch, check_weights
from aimc_lightning.nn.base import (
    analog_layers,
    program_,
    set_time_,
    tile_arrays,
    unprogram_,
)
from aimc_lightning.times import format_time


@dataclass(frozen=True)
class Sweep:
    """What to measure.

    Attributes:
        stage: ``"direct"``, ``"hwa"``, either with ``"+bn"``, or ``"digital"``.
        times_s: Seconds since the end of programming, ascending.
        chips: Number of chips.
        seed: From which chips and noise follow.
        metric: Logged metric to keep; ``None`` chooses.
        with_digital: Measure the model with its analog layers computed digitally first.
        progress: Show a progress bar.
        recalibration_batches: Batches that batch-norm statistics or input ranges come from; 0 uses
            none.
        only: Numbers of the chips to measure now; ``None``: all.
    """

    stage: str
    times_s: tuple[float, ...]
    chips: int
    seed: int = 0
    metric: str | None = None
    with_digital: bool = False
    progress: bool = True
    recalibration_batches: int = 0
    only: tuple[int, ...] | None = None

    @property
    def keys(self) -> list[tuple[str, int, float]]:
        """The rows wanted: stage, chip and time of each."""
        chips = range(self.chips) if self.only is None else self.only
        digital = [("digital", -1, 0.0)] if self.with_digital else []
        return digital + [(self.stage, chip, t) for chip in chips for t in self.times_s]


def run_sweep(
    trainer: Trainer,
    loop: _EvaluationLoop,
    module: LightningModule,
    sweep: Sweep,
    file: RowFile,
    *,
    prepare: Callable[[], None] | None = None,
    check_digital: Callable[[DriftRow], None] | None = None,
    recalibrate: Callable[[], int] | None = None,
) -> list[DriftRow]:
    """Measure all rows of a sweep that a file does not hold yet.

    Call it inside the Trainer's run, outside of inference mode. The module's weights stay as they
    are, and it holds no chip afterwards, also if something fails. Several processes share the
    chips, see :mod:`aimc_lightning.evaluation.ranks`.

    Each pass holds one chip. Several at once would multiply the memory and gain nothing on a CPU:
    a programmed ResNet-32 takes 6.8 ms of processor time per image in batches of 100 and 6.6 ms in
    batches of 250, so no way of putting chips side by side can save more than about 3 %.

    Args:
        trainer: Trainer past its set-up.
        loop: Evaluation loop to run for each row.
        module: The Trainer's module.
        sweep: What to measure.
        file: Where finished rows go; rows found there are not measured again.
        prepare: Called before the first chip, if one is missing.
        check_digital: Called with the digital row before the first chip, to stop early.
        recalibrate: Runs training batches, from which every chip and time gets batch-norm
            statistics of its own; returns their number.

    Returns:
        All rows of the sweep.

    Raises:
        ValueError: If the metric is not logged, there is no batch, a time is not valid for the
            device, or a layer's weights or inputs are not finite.
    """
    check_weights(module)
    _check_times(module, sweep.times_s)
    mark = fingerprint(module, sweep, _limit(loop, trainer))
    file.check_fingerprint(sweep.stage, mark)
    if sweep.with_digital:
        file.check_fingerprint("digital", mark)
    if not trainer.is_global_zero:
        file = file.in_memory()
    absent = [key for key in sweep.keys if file.find(*key) is None]
    missing = [(chip, time_s) for _, chip, time_s in absent if chip >= 0]
    with (
        each_rank_alone(trainer, loop) as ranks,
        measured_passes(trainer, loop) as measure,
        progress_bar(len(missing) if trainer.is_global_zero else 0, sweep) as advance,
    ):
        measurer = _Measurer(module, sweep, file, mark, measure, recalibrate)
        if len(missing) < len(absent):
            with digital_layers(module):
                measurer.measure("digital", -1, 0.0)
        digital = file.find("digital", -1, 0.0)
        if digital is not None and check_digital is not None:
            check_digital(digital)
        if missing and prepare is not None:
            prepare()
        try:
            for share in ranks.shares(list(dict.fromkeys(chip for chip, _ in missing))):
                done = len(file.rows)
                for chip in share:
                    measurer.measure_chip(chip, [t for c, t in missing if c == chip])
                for row in ranks.rows_of_others(file.rows[done:]):
                    file.append(row)
                advance(len(file.rows) - done)
        finally:
            unprogram_(module)
    return [row for row in (file.find(*key) for key in sweep.keys) if row is not None]


class _Measurer:
    """Runs single passes and keeps their rows."""

    def __init__(
        self,
        module: LightningModule,
        sweep: Sweep,
        file: RowFile,
        mark: str,
        measure: Pass,
        recalibrate: Callable[[], int] | None,
    ) -> None:
        self._module = module
        self._sweep = sweep
        self._file = file
        self._mark = mark
        self._measure = measure
        self._recalibrate = recalibrate
        self._metric = next((r.metric for r in file.rows if r.stage == sweep.stage), sweep.metric)
        self._inputs_checked = False

    def measure_chip(self, chip: int, times_s: Sequence[float]) -> None:
        program_(self._module, chip_seed(self._sweep.seed, chip))
        for time_s in times_s:
            seed = row_seed(self._sweep.seed, chip, time_s)
            set_time_(self._module, time_s, seed)
            torch.manual_seed(seed)  # chooses the batches; put back at the end of the sweep
            run = self._recalibrate
            with nullcontext() if run is None else batch_norm_of_chip(self._module, run):
                self.measure(self._sweep.stage, chip, time_s)

    def measure(self, stage: str, chip: int, time_s: float) -> None:
        watch = None if self._inputs_checked else InputWatch(self._module)
        try:
            logged = self._measure(row_seed(self._sweep.seed, chip, time_s))
            if watch is not None:
                watch.stop()
        finally:
            if watch is not None:
                watch.close()
        # Once is enough: every pass sees the same data.
        self._inputs_checked = True
        self._metric = choose_metric(logged, self._metric)
        self._file.append(
            DriftRow(
                stage,
                chip,
                time_s,
                self._metric,
                logged[self._metric],
                self._sweep.seed,
                self._mark,
            )
        )
        if self._module.trainer.received_sigterm:
            raise SIGTERMException  # Lightning looks between batches only, there may be just one


def chip_seed(seed: int, chip: int) -> int:
    """Return the seed of a chip, independent of which others are measured."""
    return _hash(f"chip {seed} {chip}")


def row_seed(seed: int, chip: int, t_inference_s: float) -> int:
    """Return the seed of read noise and data order of one row."""
    return _hash(f"row {seed} {chip} {t_inference_s!r}")


def fingerprint(module: nn.Module, sweep: Sweep, limit: float | None) -> str:
    """Return what two measurements must share to stand in one table."""
    identity = {
        "weights": state_fingerprint(module),
        "analog": analog_metadata(module)["conversions"],
        "seed": sweep.seed,
        "metric": sweep.metric,
        "limit": limit,
    }
    if sweep.recalibration_batches:
        identity["recalibration_batches"] = sweep.recalibration_batches
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_times(module: nn.Module, times_s: Sequence[float]) -> None:
    for layer in analog_layers(module).values():
        for array in tile_arrays(layer):
            for time_s in times_s:
                if time_s > 0:
                    array.config.chip.device.check_time(time_s)


def _limit(loop: _EvaluationLoop, trainer: Trainer) -> float:
    return trainer.limit_test_batches if trainer.testing else trainer.limit_val_batches


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@contextmanager
def progress_bar(rows: int, sweep: Sweep) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with the time left.

    Args:
        rows: Rows to be measured; none show no bar.
        sweep: What they belong to.

    Yields:
        A function that is told how many more rows are done.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not (sweep.progress and rows)) as progress:
        times = ", ".join(format_time(time_s) for time_s in sweep.times_s)
        task = progress.add_task(f"{sweep.stage}: {sweep.chips} chips at {times}", total=rows)
        yield lambda done: progress.advance(task, done)

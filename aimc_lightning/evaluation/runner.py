"""Who measures the jobs of an evaluation: the processes of the Trainer, or Ray tasks."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from lightning.pytorch import LightningDataModule, Trainer

from aimc_lightning.evaluation.harness import Data, runs_test
from aimc_lightning.evaluation.jobs import Evaluation, Job, changed
from aimc_lightning.evaluation.measure import fingerprint, progress_bar
from aimc_lightning.evaluation.ray_tasks import RayTasks
from aimc_lightning.evaluation.rows import DriftRow, RowFile


class Runner(Protocol):
    """Measures jobs."""

    def run(self, job: Job) -> list[DriftRow]:
        """Return all rows of a job; those found in the file are not measured again."""


def make_runner(
    trainer: Trainer,
    data: Data,
    file: RowFile,
    ray: RayTasks | None = None,
    check_digital: Callable[[DriftRow], None] | None = None,
) -> Runner:
    """Return what measures the jobs of an evaluation.

    Args:
        trainer: Any Trainer.
        data: What it takes as data.
        file: Where finished rows go.
        ray: How to start Ray tasks; ``None`` measures here.
        check_digital: Called with the digital row before the first chip, to stop early.
    """
    if ray is None:
        return Evaluation(trainer, data, file, check_digital)
    return _RayRunner(trainer, data, file, ray, check_digital)


class _RayRunner:
    """Hands each chip of a job to a Ray task, which measures it with a Trainer of its own."""

    def __init__(
        self,
        trainer: Trainer,
        data: Data,
        file: RowFile,
        tasks: RayTasks,
        check_digital: Callable[[DriftRow], None] | None,
    ) -> None:
        self._trainer = trainer
        self._data = data
        self._file = file
        self._tasks = tasks
        self._check_digital = check_digital

    def run(self, job: Job) -> list[DriftRow]:
        sweep, file = job.sweep, self._file
        self._check_file(job)
        if sweep.with_digital:
            if file.find("digital", -1, 0.0) is None:
                self._measure(job, [()])
            if self._check_digital is not None:
                self._check_digital(file.find("digital", -1, 0.0))  # type: ignore[arg-type]
        alone = replace(job, sweep=replace(sweep, with_digital=False))
        missing = {key[1] for key in alone.sweep.keys if file.find(*key) is None}
        self._measure(alone, [(chip,) for chip in sorted(missing)])
        return [row for row in (file.find(*key) for key in sweep.keys) if row is not None]

    def _check_file(self, job: Job) -> None:
        testing = runs_test(job.module, self._data)
        trainer = self._trainer
        limit = trainer.limit_test_batches if testing else trainer.limit_val_batches
        with changed(job):
            mark = fingerprint(job.module, job.sweep, limit)
        for stage in {key[0] for key in job.sweep.keys}:
            self._file.check_fingerprint(stage, mark)

    def _measure(self, job: Job, chips: list[tuple[int, ...]]) -> None:
        data = self._data
        if isinstance(data, LightningDataModule):
            data = copy.copy(data)
            data.trainer = None  # a Trainer that ran cannot be sent
        shared = (self._tasks.make_trainer, torch.get_num_threads(), data, job, self._file.rows)
        results = self._tasks.results(_measure_chips, shared, [(numbers,) for numbers in chips])
        with progress_bar(len(chips) * len(job.sweep.times_s), job.sweep) as advance:
            for rows in results:
                new = [row for row in rows if self._file.find(*row.key) is None]
                for row in new:
                    self._file.append(row)
                advance(len(new))


def _measure_chips(
    make_trainer: Callable[[], Trainer],
    threads: int,
    data: Data,
    job: Job,
    known: list[DriftRow],
    chips: tuple[int, ...],
) -> list[DriftRow]:
    """Measure some chips of a job in a task."""
    torch.set_num_threads(threads)  # the order of sums depends on it
    file = RowFile()
    file.rows = list(known)
    sweep = replace(job.sweep, only=chips, progress=False)
    return Evaluation(make_trainer(), data, file).run(replace(job, sweep=sweep))

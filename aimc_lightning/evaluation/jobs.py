"""The parts of an evaluation, each one Trainer run: a module, and what is measured with it."""

import copy
import glob
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loops import _EvaluationLoop

from aimc_lightning.checkpoint import analog_metadata
from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.calibration import (
    calibrate_input_ranges_,
    kept_input_ranges,
    set_input_ranges_,
)
from aimc_lightning.evaluation.harness import Data, run_inside
from aimc_lightning.evaluation.measure import Sweep, row_seed, run_sweep
from aimc_lightning.evaluation.options import DriftOptions
from aimc_lightning.evaluation.rows import DriftRow, RowFile
from aimc_lightning.evaluation.training_data import (
    evaluated_batches,
    evaluation_step,
    run_batches,
    training_source,
)
from aimc_lightning.evaluation.variants import Variant, check_tiles
from aimc_lightning.integration.digital import digital_layers
from aimc_lightning.nn.base import analog_layers


@dataclass(frozen=True)
class Job:
    """One Trainer run.

    Attributes:
        module: Module to measure; the same afterwards.
        sweep: What to measure with it.
        calibrate: Set the input ranges from training batches, as the start of training would.
        variant: What else is done to it without training.
        digital: Names of analog layers that compute digitally.
    """

    module: LightningModule
    sweep: Sweep
    calibrate: bool = False
    variant: Variant = field(default_factory=Variant)
    digital: tuple[str, ...] = ()

    def with_variant(self, variant: Variant, batches: int) -> "Job":
        """Return the job of a further stage.

        Args:
            variant: What is done to the module.
            batches: Training batches for it.
        """
        sweep = replace(
            self.sweep,
            stage=self.sweep.stage + variant.suffix,
            with_digital=False,
            recalibration_batches=batches if variant.needs_data else 0,
        )
        return replace(self, sweep=sweep, variant=variant)


def drift_jobs(
    module: LightningModule, options: DriftOptions, base: Sweep, variants: tuple[Variant, ...] = ()
) -> list[Job]:
    """Return the jobs of a drift evaluation: digital, direct, trained, and variants of these.

    Args:
        module: Analog module, or a digital one to be mapped directly.
        options: ``digital``, ``direct``, ``config`` and the choice of layers count.
        base: Times, chips, seed and metric.
        variants: What is done without training.
    """
    jobs = []
    trained = bool(analog_layers(module))
    digital, direct = options.digital, options.direct if trained else module
    if isinstance(digital, LightningModule):
        plain = copy.deepcopy(digital)
        jobs.append(Job(plain, replace(base, stage="digital", chips=0, with_digital=True)))
    if direct is not None:
        mapped = copy.deepcopy(direct)
        if not analog_layers(mapped):
            convert_like(mapped, module if trained else None, options)
        sweep = replace(base, stage="direct", with_digital=digital is None)
        jobs.append(Job(mapped, sweep, calibrate=not analog_layers(direct)))
    if trained:
        jobs.append(Job(module, replace(base, with_digital=digital is None and direct is None)))
    measured = [job for job in jobs if job.sweep.chips]
    for variant, job in itertools.product(variants, measured):
        check_tiles(variant, job.module)
        jobs.append(job.with_variant(variant, options.recalibration_batches))
    return jobs


def convert_like(
    module: LightningModule, example: LightningModule | None, options: DriftOptions
) -> None:
    """Convert a digital module with the layers and settings of an analog one, if there is one.

    Args:
        module: Digital module, changed in place.
        example: Analog module.
        options: Settings and choice of layers without ``example``.
    """
    if example is None:
        convert_to_analog(
            module,
            options.config,
            include=options.include,
            exclude=options.exclude,
            layers=options.layers,
        )
        return
    layers = {
        glob.escape(name): TileConfig.from_dict(entry["config"])
        for entry in analog_metadata(example)["conversions"]
        for name in entry["layers"]
    }
    convert_to_analog(module, next(iter(layers.values())), include=list(layers), layers=layers)


class Evaluation:
    """Runs jobs with one Trainer.

    Args:
        trainer: Any Trainer.
        data: What it takes as data.
        file: Where finished rows go.
        check_digital: Called with the digital row before the first chip, to stop early.
    """

    def __init__(
        self,
        trainer: Trainer,
        data: Data,
        file: RowFile,
        check_digital: Callable[[DriftRow], None] | None = None,
    ) -> None:
        self.trainer = trainer
        self.data = data
        self.file = file
        self.check_digital = check_digital

    def run(self, job: Job) -> list[DriftRow]:
        """Measure a job in a Trainer run of its own; return all its rows."""

        def work(loop: _EvaluationLoop) -> list[dict[str, Any]]:
            return [asdict(row) for row in self.measure(loop, job)]

        return [DriftRow(**row) for row in run_inside(self.trainer, job.module, self.data, work)]

    def measure(self, loop: _EvaluationLoop, job: Job) -> list[DriftRow]:
        """Measure a job inside a Trainer run; return all its rows."""
        prepared = job.calibrate or job.variant.needs_data
        with changed(job):
            return run_sweep(
                self.trainer,
                loop,
                job.module,
                job.sweep,
                self.file,
                prepare=(lambda: self._prepare(job, loop)) if prepared else None,
                check_digital=self.check_digital,
                recalibrate=(lambda: self._run_training(job)) if job.variant.batch_norm else None,
            )

    def _prepare(self, job: Job, loop: _EvaluationLoop) -> None:
        source = training_source(self.data, job.module)
        if isinstance(source, LightningDataModule):
            source.setup("fit")  # the Trainer has set it up for testing only
        rule = job.variant.input_ranges
        if not (job.calibrate or rule):
            return
        torch.manual_seed(row_seed(job.sweep.seed, -1, 0.0))  # put back at the end of the sweep
        step = evaluation_step(self.trainer, job.module)
        if rule is None:
            loader = evaluated_batches(loop) if source is None else source.train_dataloader()
            calibrate_input_ranges_(self.trainer, job.module, loader, step)
        else:
            batches = self._training_batches(job)
            set_input_ranges_(self.trainer, job.module, batches, step, rule)  # type: ignore[arg-type]

    def _run_training(self, job: Job) -> int:
        step = evaluation_step(self.trainer, job.module)
        return run_batches(self.trainer, job.module, self._training_batches(job), step)

    def _training_batches(self, job: Job) -> Iterator[Any]:
        # A new loader each time: a row must not depend on a generator that others have used.
        loader = training_source(self.data, job.module).train_dataloader()
        return itertools.islice(loader, job.sweep.recalibration_batches)


@contextmanager
def changed(job: Job) -> Iterator[None]:
    """Put the module of a job into the state that it measures."""
    with ExitStack() as stack:
        if job.calibrate or job.variant.input_ranges is not None:
            stack.enter_context(kept_input_ranges(job.module))
        stack.enter_context(job.variant.applied(job.module))
        if job.digital:
            stack.enter_context(digital_layers(job.module, job.digital))
        yield

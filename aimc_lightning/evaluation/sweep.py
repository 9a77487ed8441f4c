"""One call from a trained module to its accuracy over time: ``evaluate_drift``."""

import copy
import glob
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loops import _EvaluationLoop

from aimc_lightning.checkpoint import analog_metadata
from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.batch_norm import check_recalibration
from aimc_lightning.evaluation.calibration import calibrate_input_ranges_
from aimc_lightning.evaluation.harness import Data, run_inside
from aimc_lightning.evaluation.measure import Sweep, row_seed, run_sweep
from aimc_lightning.evaluation.metrics import guess_chance, is_share, last_layer
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow, RowFile
from aimc_lightning.evaluation.training_data import (
    evaluation_step,
    run_batches,
    training_source,
)
from aimc_lightning.integration.times import parse_time
from aimc_lightning.nn.base import analog_layers


@dataclass(frozen=True)
class DriftOptions:
    """What :func:`evaluate_drift` takes as keywords.

    Example:
        >>> DriftOptions(metric="test_acc", chance=0.1).share
        0.99

    Attributes:
        metric: Name of a logged metric; ``None`` takes the only one, or the only accuracy.
        chance: Score of a random guess, in the metric's own unit; ``None`` derives it from the
            number of outputs where the metric's name allows, and says so.
        digital: Score of the digital model, or the digital module itself; ``None`` takes
            ``direct``, or else the trained weights computed digitally.
        direct: Digital module to measure as well, mapped without retraining on a copy, with the
            layers and settings of the analog module; its input ranges are set from training
            batches.
        config: Settings to map a module with that is digital itself.
        seed: From which chips and noise follow.
        share: Normalised accuracy that counts as iso-accurate.
        csv_path: File to which each finished row is appended, and from which a sweep goes on.
        progress: Show a progress bar with the time left.
        recalibrate: ``"batch_norm"`` measures every chip and time once more with batch-norm
            statistics re-estimated on that chip; stages ``direct+bn`` and ``hwa+bn``.
        recalibration_batches: Training batches for it.
    """

    metric: str | None = None
    chance: float | None = None
    digital: float | LightningModule | None = None
    direct: LightningModule | None = None
    config: TileConfig | str = "standard_pcm"
    seed: int = 0
    share: float = 0.99
    csv_path: str | Path | None = None
    progress: bool = True
    recalibrate: Literal["batch_norm"] | None = None
    recalibration_batches: int = 20

    @property
    def given_score(self) -> float | None:
        """The digital score, if it was given as a number."""
        given = self.digital
        return None if given is None or isinstance(given, LightningModule) else float(given)


def evaluate_drift(
    trainer: Trainer,
    module: LightningModule,
    datamodule: Data = None,
    times: Sequence[str | float] = ("1s", "1h", "1d", "1y"),
    chips: int = 25,
    **options: Any,  # noqa: ANN401 - the fields of DriftOptions
) -> DriftResults:
    """Programme chips, let them age, and measure a metric of the module at each time.

    Example:
        ``print(evaluate_drift(trainer, module, datamodule, times=("1h", "1y"), chips=5))``

    Every chip is programmed once and then read at ascending times. A row depends only on the
    weights, the seed, the number of the chip and the time, so the same rows come out in one go, in
    another order, resumed from ``csv_path``, or with several processes, which share the chips and
    each run the whole data set. Trained weights are not changed.

    Args:
        trainer: Any Trainer; its accelerator, precision and limits are used.
        module: Analog module, stage ``hwa``. A digital one is mapped as ``direct``.
        datamodule: Data module or test loader; ``None`` takes the module's own loaders.
        times: Times after programming, seconds or text such as ``"1d"``.
        chips: Number of chips.
        **options: Fields of :class:`DriftOptions`: ``metric``, ``chance``, ``digital``, ``direct``,
            ``config``, ``seed``, ``share``, ``csv_path``, ``progress``, ``recalibrate``,
            ``recalibration_batches``.

    Returns:
        Rows and statistics.

    Raises:
        ValueError: If a time, metric, chance level or the data cannot be used, or if ``csv_path``
            belongs to another model, configuration or seed; nothing is overwritten then.
    """
    wanted = DriftOptions(**options)
    if wanted.recalibrate is not None:
        check_recalibration(
            wanted.recalibrate,
            wanted.recalibration_batches,
            training_source(datamodule, module) is not None,
            [module, wanted.direct],
        )
    sweep = Sweep(
        "hwa",
        _seconds(times),
        checked_chips(chips),
        wanted.seed,
        wanted.metric,
        progress=wanted.progress,
    )
    digital, chance = wanted.given_score, wanted.chance
    if digital is not None and chance is not None:
        DriftResults([], wanted.metric or "accuracy", digital, chance, wanted.share)
    evaluation = _Evaluation(trainer, datamodule, RowFile(wanted.csv_path), chance, wanted.share)
    rows = [row for job in _jobs(module, wanted, sweep) for row in evaluation.run(job)]
    measured = [row for row in rows if row.stage != "digital"]
    if digital is None:
        digital = next(row.value for row in rows if row.stage == "digital")
    notes = [] if (wanted.digital, wanted.direct) != (None, None) else [_digital_note(module)]
    metric = measured[0].metric
    if chance is None:
        chance, note = derived_chance(module, metric, digital)
        notes.append(note)
    return DriftResults(measured, metric, digital, chance, wanted.share, notes=tuple(notes))


def checked_chips(chips: int) -> int:
    """Return a number of chips, or raise ``ValueError`` if it is not a whole number from 1 up."""
    if isinstance(chips, bool) or not isinstance(chips, int) or chips < 1:
        raise ValueError(f"chips is {chips!r}; it must be a whole number from 1 up.")
    return chips


def _seconds(times: Sequence[str | float]) -> tuple[float, ...]:
    times_s = tuple(sorted({parse_time(time) for time in times}))
    if not times_s:
        raise ValueError("times is empty; give at least one, e.g. times=('1s', '1d').")
    return times_s


@dataclass(frozen=True)
class _Job:
    """One Trainer run: a module and what to measure with it."""

    module: LightningModule
    sweep: Sweep
    calibrate: bool = False

    def recalibrated(self, batches: int) -> "_Job":
        stage = f"{self.sweep.stage}+bn"
        sweep = replace(self.sweep, stage=stage, with_digital=False, recalibration_batches=batches)
        module = copy.deepcopy(self.module) if self.calibrate else self.module
        return replace(self, module=module, sweep=sweep)


def _jobs(module: LightningModule, options: DriftOptions, base: Sweep) -> list[_Job]:
    jobs = []
    trained = bool(analog_layers(module))
    digital, direct = options.digital, options.direct if trained else module
    if isinstance(digital, LightningModule):
        plain = copy.deepcopy(digital)
        jobs.append(_Job(plain, replace(base, stage="digital", chips=0, with_digital=True)))
    if direct is not None:
        mapped = copy.deepcopy(direct)
        if not analog_layers(mapped):
            _convert_like(mapped, module if trained else None, options.config)
        sweep = replace(base, stage="direct", with_digital=digital is None)
        jobs.append(_Job(mapped, sweep, calibrate=not analog_layers(direct)))
    if trained:
        jobs.append(_Job(module, replace(base, with_digital=digital is None and direct is None)))
    if options.recalibrate is not None:
        measured = [job for job in jobs if job.sweep.chips]
        jobs += [job.recalibrated(options.recalibration_batches) for job in measured]
    return jobs


def _convert_like(
    module: LightningModule, example: LightningModule | None, config: TileConfig | str
) -> None:
    """Convert a digital module with the layers and settings of an analog one, if there is one."""
    if example is None:
        convert_to_analog(module, config)
        return
    layers = {
        glob.escape(name): TileConfig.from_dict(entry["config"])
        for entry in analog_metadata(example)["conversions"]
        for name in entry["layers"]
    }
    convert_to_analog(module, next(iter(layers.values())), include=list(layers), layers=layers)


class _Evaluation:
    """Runs the jobs of one evaluation with one Trainer."""

    def __init__(
        self, trainer: Trainer, data: Data, file: RowFile, chance: float | None, share: float
    ) -> None:
        self._trainer = trainer
        self._data = data
        self._file = file
        self._chance = chance
        self._share = share

    def run(self, job: _Job) -> list[DriftRow]:
        recalibrating = job.sweep.recalibration_batches > 0

        def measure(loop: _EvaluationLoop) -> list[dict[str, Any]]:
            rows = run_sweep(
                self._trainer,
                loop,
                job.module,
                job.sweep,
                self._file,
                prepare=(lambda: self._prepare(job)) if job.calibrate or recalibrating else None,
                check_digital=self._check_digital,
                recalibrate=(lambda: self._run_training(job)) if recalibrating else None,
            )
            return [asdict(row) for row in rows]

        return [
            DriftRow(**row) for row in run_inside(self._trainer, job.module, self._data, measure)
        ]

    def _check_digital(self, row: DriftRow) -> None:
        if self._chance is not None:
            DriftResults([], row.metric, row.value, self._chance, self._share)

    def _prepare(self, job: _Job) -> None:
        source = training_source(self._data, job.module)
        if isinstance(source, LightningDataModule):
            source.setup("fit")  # the Trainer has set it up for testing only
        if source is None or not job.calibrate:
            return
        torch.manual_seed(row_seed(job.sweep.seed, -1, 0.0))  # put back at the end of the sweep
        step = evaluation_step(self._trainer, job.module)
        calibrate_input_ranges_(self._trainer, job.module, source.train_dataloader(), step)

    def _run_training(self, job: _Job) -> int:
        # A new loader each time: a row must not depend on a generator that others have used.
        loader = training_source(self._data, job.module).train_dataloader()
        batches = itertools.islice(loader, job.sweep.recalibration_batches)
        step = evaluation_step(self._trainer, job.module)
        return run_batches(self._trainer, job.module, batches, step)


def _digital_note(module: LightningModule) -> str:
    if not analog_layers(module):
        return "digital: the module itself, before it was mapped."
    return (
        "digital: the trained weights computed digitally; give digital=... to compare with the "
        "model before hardware-aware training."
    )


def derived_chance(
    module: LightningModule, metric: str, digital: float | None
) -> tuple[float | None, str]:
    """Return the chance level of a metric, if its name tells, and a remark on where it is from.

    Args:
        module: Module whose last linear layer gives the number of classes.
        metric: Name of the metric.
        digital: Score of the digital model.
    """
    layer = last_layer(module)
    guess = None if layer is None else guess_chance(metric, layer[1])
    if layer is None or guess is None or digital is None:
        return None, f"No A*: the chance level of {metric} is not known; give chance=..."
    if is_share(metric) and digital > 1.5:
        guess *= 100
    try:
        DriftResults([], metric, digital, guess)
    except ValueError:
        return None, f"No A*: the digital model is not better than chance ({guess:g})."
    return (
        guess,
        f"chance {guess:g}: from the {layer[1]} outputs of {layer[0]!r}; or give chance=...",
    )

"""One call from a trained module to its accuracy over time: ``evaluate_drift``."""

import copy
import glob
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loops import _EvaluationLoop
from lightning.pytorch.utilities.model_helpers import is_overridden

from aimc_lightning.checkpoint import analog_metadata
from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.calibration import calibrate_input_ranges_
from aimc_lightning.evaluation.harness import quiet_callbacks, replaced_run
from aimc_lightning.evaluation.measure import Sweep, row_seed, run_sweep
from aimc_lightning.evaluation.metrics import guess_chance, is_share, last_layer
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow, RowFile
from aimc_lightning.integration.times import parse_time
from aimc_lightning.nn.base import analog_layers

#: What a Trainer takes as data: a data module, one or several loaders, or nothing.
Data = LightningDataModule | Iterable[Any] | None


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
            ``config``, ``seed``, ``share``, ``csv_path``, ``progress``.

    Returns:
        Rows and statistics.

    Raises:
        ValueError: If a time, metric, chance level or the data cannot be used, or if ``csv_path``
            belongs to another model, configuration or seed; nothing is overwritten then.
    """
    wanted = DriftOptions(**options)
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
        trainer = self._trainer
        testing = self._has_test(job.module)
        loop = trainer.test_loop if testing else trainer.validate_loop

        # Lightning passes on what the loop returns, from worker processes too, if it is plain.
        def measure() -> list[dict[str, Any]]:
            rows = run_sweep(
                trainer,
                loop,
                job.module,
                job.sweep,
                self._file,
                prepare=(lambda: self._calibrate(job, loop)) if job.calibrate else None,
                check_digital=self._check_digital,
            )
            return [asdict(row) for row in rows]

        keywords: dict[str, Any] = {"verbose": False}
        if isinstance(self._data, LightningDataModule):
            keywords["datamodule"] = self._data
        elif self._data is not None:
            keywords["dataloaders"] = self._data
        with quiet_callbacks(trainer), replaced_run(loop, measure):
            run = trainer.test if testing else trainer.validate
            return [DriftRow(**row) for row in run(job.module, **keywords)]  # type: ignore[arg-type]

    def _has_test(self, module: LightningModule) -> bool:
        if not is_overridden("test_step", module):
            return False
        if isinstance(self._data, LightningDataModule):
            return is_overridden("test_dataloader", self._data)
        return self._data is not None or is_overridden("test_dataloader", module)

    def _check_digital(self, row: DriftRow) -> None:
        if self._chance is not None:
            DriftResults([], row.metric, row.value, self._chance, self._share)

    def _calibrate(self, job: _Job, loop: _EvaluationLoop) -> None:
        source = self._data if isinstance(self._data, LightningDataModule) else job.module
        if not is_overridden("train_dataloader", source):
            return
        if isinstance(source, LightningDataModule):
            source.setup("fit")  # the Trainer has set it up for testing only
        torch.manual_seed(row_seed(job.sweep.seed, -1, 0.0))  # put back at the end of the sweep
        testing = loop is self._trainer.test_loop
        step = job.module.test_step if testing else job.module.validation_step
        calibrate_input_ranges_(self._trainer, job.module, source.train_dataloader(), step)


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

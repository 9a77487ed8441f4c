"""Drift evaluation as part of ``trainer.fit`` or ``trainer.test``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loops import _EvaluationLoop
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from typing_extensions import TypedDict, Unpack

from aimc_lightning.evaluation.jobs import Evaluation, Job
from aimc_lightning.evaluation.measure import Sweep
from aimc_lightning.evaluation.options import DriftOptions
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import RowFile
from aimc_lightning.evaluation.sweep import checked_chips, derived_chance
from aimc_lightning.evaluation.training_data import training_source
from aimc_lightning.evaluation.variants import Variant, check_tiles, parse_variants
from aimc_lightning.times import parse_time


class WithoutTraining(TypedDict, total=False):
    """What can be done to the network without training it, see ``DriftOptions``."""

    recalibrate: str | list[str] | None
    recalibration_batches: int | None


class DriftEvaluation(Callback):
    """Measures how a trained analog model ages, without a further call.

    Example:
        >>> callback = DriftEvaluation(times=("1h", "1y"), chips=5, when="test")
        >>> callback.programs_chips
        True

    At the end of ``fit`` it uses the validation data, after ``trainer.test`` the test data. It
    prints the table, sends means to the loggers as ``<metric>@<time>`` with times as you spell
    them, writes files if given a folder, and keeps the results as :attr:`results`. List it last,
    after ``WeightAveraging``.

    Args:
        times: Times after programming, seconds or text such as ``"1d"``.
        chips: Number of chips.
        metric: Logged metric; ``None`` takes the only one, or the only accuracy.
        chance: Score of a random guess; ``None`` derives it where the metric's name allows.
        digital: Score of the digital model; ``None`` measures the trained weights digitally.
        seed: From which chips and noise follow.
        when: ``"test"``, ``"fit"`` or ``"both"``.
        folder: Where ``drift.csv``, ``drift.json`` and ``drift.png`` go; ``None`` writes none. At
            the end of fit the names begin with ``fit_``.
        **without_training: ``recalibrate`` and ``recalibration_batches`` add stages such as
            ``hwa+bn``, see :class:`~aimc_lightning.evaluation.options.DriftOptions`; training
            batches come from the data module, or from the module itself.
    """

    #: Tells AnalogTraining that no reminder is needed.
    programs_chips = True

    def __init__(
        self,
        times: Sequence[str | float] = ("1s", "1h", "1d", "1y"),
        chips: int = 25,
        metric: str | None = None,
        chance: float | None = None,
        digital: float | None = None,
        seed: int = 0,
        when: Literal["test", "fit", "both"] = "test",
        folder: str | Path | None = None,
        **without_training: Unpack[WithoutTraining],
    ) -> None:
        unknown = sorted(set(without_training) - set(WithoutTraining.__annotations__))
        if unknown:
            known = ", ".join(WithoutTraining.__annotations__)
            raise TypeError(
                f"DriftEvaluation has no argument {', '.join(unknown)}; beside those of its "
                f"signature it takes {known}."
            )
        self.times = times
        self.chips = chips
        self.metric = metric
        self.chance = chance
        self.digital = digital
        self.seed = seed
        self.when = when
        self.folder = folder
        self.recalibrate = without_training.get("recalibrate")
        batches = without_training.get("recalibration_batches")
        self.recalibration_batches = (
            DriftOptions.recalibration_batches if batches is None else batches
        )
        self.results: DriftResults | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the settings; take the place of the test loop's ``run``."""
        if self.when not in ("test", "fit", "both"):
            raise ValueError(f"when is {self.when!r}; it must be 'test', 'fit' or 'both'.")
        self._sweep()
        # Whether the module fits is checked once its layers exist.
        self._variants(trainer, pl_module, [])
        if stage == "test" and self.when != "fit":
            loop = trainer.test_loop

            # Not in on_test_end: that runs in inference mode, where no chip can be programmed.
            def run_then_evaluate() -> list[Any]:
                outputs = type(loop).run(loop)
                self._evaluate(trainer, loop, pl_module, "")
                return outputs

            loop.run = run_then_evaluate  # type: ignore[method-assign]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate on the validation data."""
        if self.when == "test":
            return
        first_iteration = trainer._logger_connector._first_loop_iter
        trainer.validating = True  # the Trainer picks its active loop by this
        try:
            loop = trainer.fit_loop.epoch_loop.val_loop
            self._evaluate(trainer, loop, pl_module, "fit_")
        finally:
            trainer.training = True
            trainer._logger_connector._first_loop_iter = first_iteration

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the test loop its own ``run`` back."""
        vars(trainer.test_loop).pop("run", None)

    on_exception = teardown  # type: ignore[assignment]  # the third argument is not used

    def _sweep(self) -> Sweep:
        times_s = tuple(sorted({parse_time(time) for time in self.times}))
        measured = self.digital is None
        return Sweep(
            "hwa", times_s, checked_chips(self.chips), self.seed, self.metric, with_digital=measured
        )

    def _variants(
        self, trainer: Trainer, module: LightningModule, modules: list[LightningModule]
    ) -> tuple[Variant, ...]:
        source = training_source(trainer.datamodule, module)  # type: ignore[attr-defined]
        batches = self.recalibration_batches
        return parse_variants(self.recalibrate, batches, source is not None, modules)

    def _evaluate(
        self, trainer: Trainer, loop: _EvaluationLoop, module: LightningModule, prefix: str
    ) -> None:
        folder = None if self.folder is None else Path(self.folder)
        file = RowFile(None if folder is None else folder / f"{prefix}drift.csv")
        evaluation = Evaluation(trainer, trainer.datamodule, file)  # type: ignore[attr-defined]
        plain = Job(module, replace(self._sweep(), progress=_own_progress(trainer)))
        variants = self._variants(trainer, module, [module])
        for variant in variants:
            check_tiles(variant, module)
        jobs = [plain, *(plain.with_variant(v, self.recalibration_batches) for v in variants)]
        rows = [row for job in jobs for row in evaluation.measure(loop, job)]
        measured = [row for row in rows if row.stage != "digital"]
        metric = measured[0].metric
        digital, chance = self.digital, self.chance
        notes: tuple[str, ...] = ()
        if digital is None:
            digital = rows[0].value
        if chance is None:
            chance, note = derived_chance(module, metric, digital)
            notes = (note,)
        self.results = DriftResults(measured, metric, digital, chance, notes=notes)
        rank_zero_info(str(self.results))
        if not trainer.is_global_zero:
            return
        spelled = {parse_time(t): t if isinstance(t, str) else f"{t:g}s" for t in self.times}
        means = {
            f"{metric}@{spelled[line.t_inference_s]}": line.mean for line in self.results.summary()
        }
        for logger in trainer.loggers:
            logger.log_metrics(means, step=trainer.global_step)
        if folder is not None:
            self.results.to_json(folder / f"{prefix}drift.json")
            self.results.plot(folder / f"{prefix}drift.png")


def _own_progress(trainer: Trainer) -> bool:
    """End the Trainer's bar, which is full by now, and return whether to show one of our own."""
    bar = trainer.progress_bar_callback
    # rich before 14.1 refuses a second live display, later ones draw both over and over.
    if isinstance(bar, RichProgressBar) and bar.progress is not None:
        bar.progress.stop()
    return bar is not None and getattr(bar, "is_enabled", True)

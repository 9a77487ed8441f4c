"""One call from a trained module to its accuracy over time: ``evaluate_drift``."""

from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from aimc_lightning.evaluation.harness import Data
from aimc_lightning.evaluation.jobs import drift_jobs
from aimc_lightning.evaluation.measure import Sweep
from aimc_lightning.evaluation.metrics import guess_chance, is_share, last_layer
from aimc_lightning.evaluation.options import DriftOptions
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow, RowFile
from aimc_lightning.evaluation.runner import make_runner
from aimc_lightning.evaluation.training_data import training_source
from aimc_lightning.evaluation.variants import parse_variants
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.times import parse_time


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
        **options: Fields of :class:`~aimc_lightning.evaluation.options.DriftOptions`:
            ``metric``, ``chance``, ``digital``, ``direct``, ``config``, ``include``, ``exclude``,
            ``layers``, ``seed``, ``share``, ``csv_path``, ``progress``, ``recalibrate``,
            ``recalibration_batches``, ``ray``.

    Returns:
        Rows and statistics.

    Raises:
        ValueError: If a time, metric, chance level or the data cannot be used, or if ``csv_path``
            belongs to another model, configuration or seed; nothing is overwritten then.
    """
    wanted = DriftOptions(**options)
    variants = parse_variants(
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
    jobs = drift_jobs(module, wanted, sweep, variants)
    runner = make_runner(
        trainer, datamodule, RowFile(wanted.csv_path), wanted.ray, digital_check(chance)
    )
    rows = [row for job in jobs for row in runner.run(job)]
    measured = [row for row in rows if row.stage != "digital"]
    if digital is None:
        digital = next(row.value for row in rows if row.stage == "digital")
    notes = [] if (wanted.digital, wanted.direct) != (None, None) else [_digital_note(module)]
    if any(job.calibrate for job in jobs) and training_source(datamodule, module) is None:
        notes.append(_RANGES_NOTE)
    metric = measured[0].metric
    if chance is None:
        chance, note = derived_chance(module, metric, digital)
        notes.append(note)
    return DriftResults(measured, metric, digital, chance, wanted.share, notes=tuple(notes))


_RANGES_NOTE = (
    "direct: input ranges come from the evaluated inputs, not their labels; with a data module "
    "they come from training data."
)


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


def digital_check(chance: float | None) -> Callable[[DriftRow], None]:
    """Return a function that raises ``ValueError`` if a digital score is no better than chance.

    Args:
        chance: Score of a random guess; ``None`` lets every score pass.
    """

    def check(row: DriftRow) -> None:
        DriftResults([], row.metric, row.value, chance)

    return check


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

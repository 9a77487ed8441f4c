"""How much of each nonideality a trained model, and a bare tile, tolerates."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from aimc_lightning.config import TileConfig
from aimc_lightning.evaluation.bracket import bracket, crossing
from aimc_lightning.evaluation.harness import Data
from aimc_lightning.evaluation.jobs import Job
from aimc_lightning.evaluation.measure import Sweep
from aimc_lightning.evaluation.mvm_error import mvm_error
from aimc_lightning.evaluation.nonidealities import (
    NONIDEALITIES,
    Nonideality,
    changed_config,
    standard_amount,
)
from aimc_lightning.evaluation.options import DriftOptions
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow, RowFile
from aimc_lightning.evaluation.runner import make_runner
from aimc_lightning.evaluation.sweep import checked_chips
from aimc_lightning.evaluation.tolerances import SensitivityResults, Tolerance
from aimc_lightning.nn.base import analog_arrays, analog_layers
from aimc_lightning.times import format_time, parse_time

#: One value for each chip, by amount.
Curve = dict[float, list[float]]

_MVM_LIMIT = 0.2
_LOSS_LIMIT = 0.01


def sensitivity(
    trainer: Trainer,
    module: LightningModule,
    datamodule: Data = None,
    time: str | float = "1h",
    chips: int = 5,
    names: Sequence[str] | None = None,
    tolerance: float = 0.1,
    **options: Any,  # noqa: ANN401 - the fields of DriftOptions
) -> SensitivityResults:
    """Raise each nonideality alone until 20 % MVM error, and until one point of A* is lost.

    Nothing is retrained. Standard amounts are those of the module's own config, and A* is lost
    against the module with these, chip by chip.

    Example:
        ``print(sensitivity(trainer, module, datamodule, metric="test_acc", chance=0.1,
        digital=0.92, names=("adc_bits", "stuck_zero")))``

    Args:
        trainer: Any Trainer.
        module: Trained analog module.
        datamodule: Data module or test loader.
        time: Time after programming.
        chips: Number of chips, the same ones at each point.
        names: Nonidealities, keys of ``NONIDEALITIES``; ``None`` takes all that the module has.
        tolerance: Width of the bracket at which the search stops, relative to its upper end's
            distance from the standard amount.
        **options: ``metric``, ``chance`` and ``digital`` (both as numbers, for A*), ``seed``,
            ``csv_path`` (finished rows are appended and not measured again), ``progress``.

    Returns:
        Tolerances as table, CSV and figure.

    Raises:
        ValueError: If a name, metric, chance or time is not usable, or ``csv_path`` holds rows of
            another model, config or seed.

    Source:
        Method of Rasch et al., Nature Communications 14, 5282 (2023), figures 4 to 6.
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; it must be between 0 and 1, e.g. 0.1.")
    if not analog_layers(module):
        raise ValueError("The module has no analog layer; train it with AnalogTraining first.")
    effects, skipped = _chosen(module, names)
    study = _Study(trainer, module, datamodule, parse_time(time), chips, DriftOptions(**options))
    found = [t for effect in effects for t in study.tolerances(effect, tolerance)]
    bad = sum(not row.is_finite for row in study.rows)
    return SensitivityResults(found, study.time_s, chips, study.rows, bad, skipped)


def _chosen(
    module: LightningModule, names: Sequence[str] | None
) -> tuple[list[Nonideality], tuple[str, ...]]:
    """Return the effects to study, and the names of those that the module does not have."""
    wanted = tuple(NONIDEALITIES) if names is None else tuple(names)
    unknown = sorted(set(wanted) - set(NONIDEALITIES))
    if unknown or not wanted:
        raise ValueError(
            f"names is {list(wanted)}; choose some of {', '.join(NONIDEALITIES)}, or None for all."
        )
    missing = tuple(n for n in wanted if standard_amount(NONIDEALITIES[n], module) is None)
    if missing and names is not None:
        raise ValueError(
            f"The module does not have {', '.join(missing)}, or not the same amount in all analog "
            "layers; leave it out."
        )
    return [NONIDEALITIES[name] for name in wanted if name not in missing], missing


class _Study:
    """Measures points of one sensitivity study."""

    def __init__(
        self, trainer: Trainer, module: LightningModule, data: Data, time_s: float, chips: int,
        options: DriftOptions,
    ) -> None:  # fmt: skip
        digital, chance = options.given_score, options.chance
        if digital is None or chance is None:
            raise ValueError("sensitivity needs digital=... and chance=... as numbers, for A*.")
        self.scale = DriftResults([], options.metric or "accuracy", digital, chance)
        self.module, self.time_s, self.options = module, time_s, options
        self.chips = checked_chips(chips)
        self.rows: list[DriftRow] = []
        layer = next(iter(analog_layers(module).values()))
        self.config = next(iter(analog_arrays(layer).values()))[0].config
        self.standard_errors = self.errors(self.config)
        if statistics.fmean(self.standard_errors) > _MVM_LIMIT:
            raise ValueError(
                f"The MVM error at {format_time(time_s)} is above {100 * _MVM_LIMIT:.0f} % without "
                "any change; take an earlier time."
            )
        file = RowFile(options.csv_path)
        self._runner = make_runner(trainer, data, file, options.ray)
        self.standard = self.scores("standard", lambda config: config)
        if not all(map(math.isfinite, self.standard)):
            raise ValueError(
                f"{self.rows[0].metric} is {[row.value for row in self.rows]} without any change; "
                "the study needs a network that works on all chips."
            )

    def errors(self, config: TileConfig) -> list[float]:
        """Return the MVM error of each chip."""
        return [mvm_error(config, self.time_s, seed) for seed in range(self.chips)]

    def scores(self, stage: str, change: Callable[[TileConfig], TileConfig]) -> list[float]:
        """Return A* of each chip."""
        options = self.options
        sweep = Sweep(stage, (self.time_s,), self.chips, options.seed, options.metric,
                      progress=options.progress)  # fmt: skip
        with changed_config(self.module, change):
            rows = self._runner.run(Job(self.module, sweep))
        known = {row.key for row in self.rows}
        self.rows += [row for row in rows if row.key not in known]
        values = [self.scale.a_star(row.value) for row in rows]
        return [math.nan if value is None else value for value in values]

    def losses(self, effect: Nonideality, amount: float) -> list[float]:
        """Return the loss of A* of each chip against the standard model; NaN counts as all lost."""
        now = self.scores(f"{effect.name}={amount:.9g}", lambda c: effect.apply(c, amount))
        pairs = zip(self.standard, now, strict=True)
        return [a - b if math.isfinite(b) else 1.0 for a, b in pairs]

    def tolerances(self, effect: Nonideality, tolerance: float) -> list[Tolerance]:
        """Search both limits."""
        standard = effect.standard(self.config)
        assert standard is not None
        errors: Curve = {standard: self.standard_errors}
        losses: Curve = {standard: [0.0] * self.chips}

        def tile(x: float) -> bool:
            errors[x] = self.errors(effect.apply(self.config, x))
            return statistics.fmean(errors[x]) <= _MVM_LIMIT

        def network(x: float) -> bool:
            losses[x] = self.losses(effect, x)
            return statistics.fmean(losses[x]) <= _LOSS_LIMIT

        def search(
            criterion: str, holds: Callable[[float], bool], curve: Curve, limit: float
        ) -> Tolerance:
            low, high = bracket(
                holds, standard, effect.first, _largest(effect, self.config),
                tolerance=tolerance, whole=effect.whole,
            )  # fmt: skip
            return Tolerance(effect.name, effect.acts_on, criterion, standard, low, high,
                             *_crossings(curve, low, high, limit))  # fmt: skip

        mvm = search("mvm_error", tile, errors, _MVM_LIMIT)
        loss = self._loss_at(effect, mvm)
        iso = search("iso_accuracy", network, losses, _LOSS_LIMIT)
        return [dataclasses.replace(mvm, drop_at_mvm=loss), iso]

    def _loss_at(self, effect: Nonideality, mvm: Tolerance) -> float:
        """Return the mean loss of A* where the MVM error is at its limit."""
        if math.isnan(mvm.limit_at):
            return math.nan
        if not effect.whole:
            return statistics.fmean(self.losses(effect, mvm.limit_at))
        low = statistics.fmean(self.losses(effect, mvm.tolerated))
        high = statistics.fmean(self.losses(effect, mvm.upper))
        share = (mvm.limit_at - mvm.tolerated) / (mvm.upper - mvm.tolerated)
        return low + share * (high - low)


def _largest(effect: Nonideality, config: TileConfig) -> float:
    """Return the largest amount to try; a converter keeps two bits."""
    largest = effect.largest
    while effect.whole and effect.apply(config, largest) == effect.apply(config, largest - 1):
        largest -= 1
    return largest


def _crossings(curve: Curve, low: float, high: float, limit: float) -> tuple[float, float]:
    """Return where the mean crosses the limit inside the bracket, and the spread over chips."""
    ends = {x: statistics.fmean(values) for x, values in curve.items() if x in (low, high)}
    chips = [dict(zip(curve, values, strict=True)) for values in zip(*curve.values(), strict=True)]
    found = [x for x in (crossing(chip, limit) for chip in chips) if math.isfinite(x)]
    spread = statistics.stdev(found) if len(found) > 1 else math.nan
    return crossing(ends, limit), spread

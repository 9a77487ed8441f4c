"""Layer by layer: error of the product, use of the converters, accuracy lost, kurtosis."""

import copy
import itertools
import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loops import _EvaluationLoop

from aimc_lightning.evaluation.harness import Data, run_inside
from aimc_lightning.evaluation.jobs import Job, convert_like
from aimc_lightning.evaluation.layers.groups import layer_groups
from aimc_lightning.evaluation.layers.products import ProductStatistics, watched_products
from aimc_lightning.evaluation.layers.results import LayerResults, LayerRow
from aimc_lightning.evaluation.layers.weights import layer_weights
from aimc_lightning.evaluation.measure import Sweep, chip_seed, row_seed
from aimc_lightning.evaluation.metrics import lower_is_better
from aimc_lightning.evaluation.options import DriftOptions
from aimc_lightning.evaluation.ranks import each_rank_alone
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow, RowFile
from aimc_lightning.evaluation.runner import make_runner
from aimc_lightning.evaluation.sweep import checked_chips, derived_chance
from aimc_lightning.evaluation.training_data import (
    evaluated_batches,
    evaluation_step,
    run_batches,
)
from aimc_lightning.integration.randomness import kept_random_state
from aimc_lightning.nn.base import (
    analog_arrays,
    analog_layers,
    matrix_name,
    program_,
    set_time_,
    unprogram_,
)
from aimc_lightning.times import parse_time


def layer_report(
    trainer: Trainer,
    module: LightningModule,
    datamodule: Data = None,
    time: str | float = "1h",
    chips: int = 5,
    before: LightningModule | None = None,
    batches: int = 4,
    **options: Any,  # noqa: ANN401 - fields of DriftOptions
) -> LayerResults:
    """Show what each layer contributes to the loss of accuracy, and why.

    Example:
        ``print(layer_report(trainer, module, datamodule, metric="test_acc", before=digital))``

    For each matrix on tiles: the error of its product on the inputs that it receives while the
    whole network is analog, clipped shares and use of its converters, and the score that is lost
    when its layer alone is analog, on the same chips. Nothing is trained or changed.

    Args:
        trainer: Any Trainer.
        module: Analog module.
        datamodule: Data module or test loader; ``None`` takes the module's own loaders.
        time: Time after programming.
        chips: Number of chips.
        before: Digital module before retraining, for the kurtosis of its weights.
        batches: Batches from which error and use of converters come, of each chip.
        **options: ``metric``, ``chance``, ``digital`` (as a number), ``seed``, ``csv_path``
            (finished rows are appended and not measured again), ``progress``, ``ray``.

    Returns:
        One row per matrix, as table, CSV and figure.

    Raises:
        ValueError: If the module has no analog layer, an argument is out of range, or ``csv_path``
            holds rows of another model, config or seed.
    """
    wanted = DriftOptions(**options)
    if not analog_layers(module):
        raise ValueError(
            "The module has no analog layer; call convert_to_analog(module) or train it first."
        )
    if isinstance(batches, bool) or not isinstance(batches, int) or batches < 1:
        raise ValueError(f"batches is {batches!r}; it must be a whole number from 1 up.")
    time_s = parse_time(time)
    base = Sweep("", (time_s,), checked_chips(chips), wanted.seed, wanted.metric,
                 progress=wanted.progress)  # fmt: skip
    digital, rows = _measured_alone(trainer, module, datamodule, base, wanted)
    metric = rows[0].metric
    chance, note = wanted.chance, ""
    if chance is None:
        chance, note = derived_chance(module, metric, digital)
    scale = DriftResults([], metric, digital, chance)
    products = _products(trainer, module, datamodule, base, batches)
    found = tuple(_rows(module, before, products, rows, scale))
    notes = (note,) if note else ()
    return LayerResults(found, time_s, chips, metric, digital, tuple(rows), notes)


def _measured_alone(
    trainer: Trainer, module: LightningModule, data: Data, base: Sweep, options: DriftOptions
) -> tuple[float, list[DriftRow]]:
    """Return the digital score, and the rows with one layer analog at a time."""
    runner = make_runner(trainer, data, RowFile(options.csv_path), options.ray)
    digital = options.given_score
    if digital is None:
        alone = Job(module, replace(base, stage="digital", chips=0, with_digital=True))
        digital = runner.run(alone)[0].value
    names, groups = list(analog_layers(module)), layer_groups(module)
    rows = []
    for group, members in groups.items():
        others = tuple(name for name in names if name not in members)
        rows += runner.run(Job(module, replace(base, stage=_stage(group)), digital=others))
    return digital, rows


def _stage(group: str) -> str:
    return f"only {group}"


def _products(
    trainer: Trainer, module: LightningModule, data: Data, sweep: Sweep, batches: int
) -> dict[str, ProductStatistics]:
    """Return sums over the products of all chips, by name of the matrix."""

    def work(loop: _EvaluationLoop) -> list[dict[str, Any]]:
        alone, kept = each_rank_alone(trainer, loop), kept_random_state()
        with alone, kept, watched_products(module) as found:
            loader = evaluated_batches(loop)
            module.eval()
            try:
                for chip in range(sweep.chips):
                    program_(module, chip_seed(sweep.seed, chip))
                    seed = row_seed(sweep.seed, chip, sweep.times_s[0])
                    set_time_(module, sweep.times_s[0], seed)
                    torch.manual_seed(seed)
                    chosen = itertools.islice(loader, batches)
                    run_batches(trainer, module, chosen, evaluation_step(trainer, module))
            finally:
                unprogram_(module)
        return [{name: asdict(sums) for name, sums in found.items()}]

    (found,) = run_inside(trainer, module, data, work)
    return {name: ProductStatistics(**sums) for name, sums in found.items()}


def _rows(
    module: LightningModule,
    before: LightningModule | None,
    products: dict[str, ProductStatistics],
    rows: list[DriftRow],
    scale: DriftResults,
) -> Iterator[LayerRow]:
    after = {weights.name: weights.kurtosis for weights in layer_weights(module)}
    earlier: dict[str, float] = {}
    if before is not None:
        mapped = copy.deepcopy(before)
        if not analog_layers(mapped):
            convert_like(mapped, module, DriftOptions())
        earlier = {weights.name: weights.kurtosis for weights in layer_weights(mapped)}
    sizes = {
        matrix_name(name, key, arrays): (name, weight.numel())
        for name, layer in analog_layers(module).items()
        for arrays in [analog_arrays(layer)]
        for key, (_, weight) in arrays.items()
    }
    total = sum(size for _, size in sizes.values())
    groups = {name: group for group, members in layer_groups(module).items() for name in members}
    for name, (layer, size) in sizes.items():
        sums, group = products[name], groups[layer]
        scores = [row.value for row in rows if row.stage == _stage(group)]
        yield LayerRow(
            name, group, size, size / total, sums.mvm_error, sums.signal_to_error_db,
            sums.clipped_input_share, sums.dac_use, sums.clipped_output_share, sums.adc_use,
            earlier.get(name, math.nan), after[name], *_lost(scores, scale),
        )  # fmt: skip


def _lost(scores: list[float], scale: DriftResults) -> tuple[float, float, float]:
    """Return mean and spread of the score lost, and the mean as a share of A*."""
    sign = -1.0 if lower_is_better(scale.metric) else 1.0
    assert scale.digital is not None
    losses = [sign * (scale.digital - score) for score in scores if math.isfinite(score)]
    if not losses:
        return math.nan, math.nan, math.nan
    mean = statistics.fmean(losses)
    spread = statistics.stdev(losses) if len(losses) > 1 else math.nan
    a_star = scale.a_star(scale.digital - sign * mean)
    return mean, spread, math.nan if a_star is None else 1 - a_star

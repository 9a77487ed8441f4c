"""Which layers to keep digital, or to spare from device noise, to reach a wanted accuracy."""

import statistics
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from aimc_lightning.config import TileConfig
from aimc_lightning.devices.simple import IdealDevice
from aimc_lightning.evaluation.harness import Data
from aimc_lightning.evaluation.jobs import Job
from aimc_lightning.evaluation.layers.assignment import Assignment
from aimc_lightning.evaluation.layers.groups import layer_groups
from aimc_lightning.evaluation.layers.subset_search import Search, Subset, search_subset
from aimc_lightning.evaluation.measure import Sweep
from aimc_lightning.evaluation.nonidealities import new_configs
from aimc_lightning.evaluation.options import DriftOptions
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow, RowFile
from aimc_lightning.evaluation.runner import make_runner
from aimc_lightning.evaluation.sweep import checked_chips
from aimc_lightning.nn.base import analog_arrays, analog_layers
from aimc_lightning.tiles.array import TileArray
from aimc_lightning.times import parse_time

#: What is done to the chosen layers.
Spare = Literal["digital", "device_noise"]


def assign_digital(
    trainer: Trainer,
    module: LightningModule,
    datamodule: Data = None,
    target: float = 0.99,
    time: str | float = "1h",
    chips: int = 5,
    spare: Spare = "digital",
    **options: Any,  # noqa: ANN401 - DriftOptions, and evaluations
) -> Assignment:
    """Find the smallest share of the weights to keep digital that reaches a wanted A*.

    Example:
        ``found = assign_digital(trainer, module, datamodule, chance=0.1, digital=0.92)``, then
        ``convert_to_analog(new_module, exclude=found.exclude)``

    The whole analog network is measured, then with each layer spared alone, then sets that the
    search proposes (:func:`~aimc_lightning.evaluation.layers.subset_search.search_subset`): all in
    all at most ``evaluations`` measurements of all chips, the same chips each time. Nothing is
    retrained.

    Args:
        trainer: Any Trainer.
        module: Analog module.
        datamodule: Data module or test loader; ``None`` takes the module's own loaders.
        target: Normalised accuracy to reach, the mean over chips, as a fraction.
        time: Time after programming.
        chips: Number of chips.
        spare: ``"digital"``: chosen layers compute digitally; ``"device_noise"``: they stay analog,
            on devices without programming noise, drift and read noise.
        **options: ``metric``, ``chance`` and ``digital`` (both as numbers), ``seed``, ``csv_path``
            (finished rows are appended and not measured again), ``progress``, ``ray``; and
            ``evaluations``, by default twice the number of layers plus 20.

    Returns:
        The set, ready for ``convert_to_analog`` and YAML, and all that was measured.

    Raises:
        ValueError: If an argument is out of range, the score of a set is NaN on a chip, or no set
            that was measured reaches the target.

    Source:
        Sparing the most sensitive layers from PCM noise: Rasch et al., Nature Communications 14,
        5282 (2023), figure 7.
    """
    evaluations = options.pop("evaluations", None)
    groups = list(layer_groups(module))
    if not groups:
        raise ValueError(
            "The module has no analog layer; call convert_to_analog(module) or train it first."
        )
    evaluations = 2 * len(groups) + 20 if evaluations is None else evaluations
    _check(target, spare, evaluations, len(groups))
    wanted = DriftOptions(**options)
    sweep = Sweep("", (parse_time(time),), checked_chips(chips), wanted.seed, wanted.metric,
                  progress=wanted.progress)  # fmt: skip
    study = _Study(trainer, module, datamodule, wanted, sweep, spare)
    weights = [study.weights(group) for group in groups]

    def measure(subset: Subset) -> float:
        return study.a_star([groups[i] for i in sorted(subset)])

    search = search_subset(weights, measure, target, evaluations)
    return _assignment(study, groups, weights, target, search)


def _check(target: float, spare: str, evaluations: object, layers: int) -> None:
    if not target > 0:
        raise ValueError(f"target is {target}; it must be above 0, e.g. 0.99.")
    if spare not in ("digital", "device_noise"):
        raise ValueError(f"spare is {spare!r}; it must be 'digital' or 'device_noise'.")
    if not isinstance(evaluations, int) or evaluations < layers + 2:
        raise ValueError(
            f"evaluations is {evaluations!r}; {layers} layers need {layers + 2} or more: "
            "the whole network, each layer alone spared, and one set."
        )


class _Study:
    """Measures sets of spared layers."""

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        data: Data,
        options: DriftOptions,
        sweep: Sweep,
        spare: Spare,
    ) -> None:
        if options.given_score is None or options.chance is None:
            raise ValueError("assign_digital needs digital=... and chance=... as numbers, for A*.")
        metric = options.metric or "accuracy"
        self.scale = DriftResults([], metric, options.given_score, options.chance)
        self.module, self.sweep, self.spare = module, sweep, spare
        self.members = layer_groups(module)
        self.rows: list[DriftRow] = []
        self._runner = make_runner(trainer, data, RowFile(options.csv_path), options.ray)

    def weights(self, group: str) -> int:
        """Return the number of weights on the tiles of a group."""
        return sum(weight.numel() for _, weight in self._arrays([group]))

    def _arrays(self, groups: list[str]) -> Iterator[tuple[TileArray, Tensor]]:
        layers = analog_layers(self.module)
        for group in groups:
            for name in self.members[group]:
                yield from analog_arrays(layers[name]).values()

    def a_star(self, groups: list[str]) -> float:
        """Return the mean normalised accuracy over the chips with these groups spared."""
        stage = f"{self.spare}: {' '.join(groups) or 'none'}"
        job = Job(self.module, replace(self.sweep, stage=stage))
        spared: AbstractContextManager[None] = nullcontext()
        if self.spare == "digital":
            names = tuple(name for group in groups for name in self.members[group])
            if len(names) == len(analog_layers(self.module)):
                return 1.0  # nothing analog is left
            job = replace(job, digital=names)
        else:
            spared = new_configs({array: quiet(array.config) for array, _ in self._arrays(groups)})
        with spared:
            rows = self._runner.run(job)
        self.rows += rows
        if not all(row.is_finite for row in rows):
            values = [row.value for row in rows]
            raise ValueError(
                f"{rows[0].metric} is {values} with {stage!r}: the mean over chips does not exist. "
                "Sets are compared on all chips; look at the network first (layer_report)."
            )
        found = self.scale.a_star(statistics.fmean(row.value for row in rows))
        assert found is not None
        return found

    def settings(self, groups: list[str]) -> dict[str, TileConfig | None]:
        """Return what each layer of these groups is to be given: ``None`` is digital."""
        layers = analog_layers(self.module)
        return {
            name: None
            if self.spare == "digital"
            else quiet(next(iter(analog_arrays(layers[name]).values()))[0].config)
            for group in groups
            for name in self.members[group]
        }


def quiet(config: TileConfig) -> TileConfig:
    """Return settings with devices that are programmed exactly, do not drift and read no noise.

    Args:
        config: Settings of a tile.

    Example:
        >>> quiet(TileConfig()).chip.device
        IdealDevice(g_max_us=25.0)
    """
    device = IdealDevice(g_max_us=config.chip.device.g_max_us)
    return config.with_values({"chip.device": device})


def _assignment(
    study: _Study, groups: list[str], weights: list[int], target: float, search: Search
) -> Assignment:
    scores = {
        tuple(groups[i] for i in sorted(subset)): score for subset, score in search.scores.items()
    }
    if search.best is None:
        best = max(scores, key=lambda names: scores[names])
        raise ValueError(
            f"None of {len(scores)} measured sets reaches A* = {target:g}; the best, "
            f"{', '.join(best) or 'no layer spared'}, reaches {scores[best]:.4f}. Lower target, or "
            "look for what else limits it with sensitivity(...)."
        )
    chosen = [groups[i] for i in sorted(search.best)]
    return Assignment(
        tuple(chosen), study.spare, target, search.scores[search.best],
        sum(weights[i] for i in search.best) / sum(weights), study.settings(chosen), scores,
        search.complete, tuple(study.rows),
    )  # fmt: skip

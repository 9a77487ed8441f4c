"""Validation during fit on chips that were programmed and aged, for callbacks to monitor."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loops import _EvaluationLoop
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection

from aimc_lightning.integration.digital import digital_layers
from aimc_lightning.integration.progress import silent_bars
from aimc_lightning.integration.randomness import random_state, set_random_state
from aimc_lightning.nn.base import program_, set_time_, unprogram_
from aimc_lightning.times import parse_time


@dataclass(frozen=True)
class Validation:
    """What the validation during fit measures besides the module's own metrics.

    Example:
        >>> validation = Validation(on=("ideal", "1d"))  # val_acc, val_acc@ideal, val_acc@1d
        >>> validation.seconds
        {'1d': 86400.0}

    A metric without ``@``, such as ``val_acc``, always means what it means in ``trainer.validate``:
    the analog chain with converters, input ranges, read and output noise, without training weight
    noise and without a chip (``"noisy"``). Each entry of ``on`` costs further passes over the
    validation data, before the module's own, and logs every metric once more as
    ``<metric>@<entry>``: ``ModelCheckpoint(monitor="val_acc@1d", mode="max")``. Training is the
    same, to the last bit, as without. Callbacks and loggers are not called in the further passes;
    they receive the results together with those of the module's own pass.

    Args:
        on: ``"noisy"``, ``"ideal"`` (trained weights computed digitally), or times after
            programming, as text such as ``"1d"`` or in seconds; one or several.
        chips: Chips programmed from the weights of the moment; their mean is logged.
        seed: Chooses the chips, the same in each validation, so that scores can be compared.
    """

    on: str | float | Sequence[str | float] = "noisy"
    chips: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if isinstance(self.chips, bool) or not isinstance(self.chips, int) or self.chips < 1:
            raise ValueError(f"chips is {self.chips!r}; it must be a whole number from 1 up.")
        if not self.entries:
            raise ValueError("on is empty; give 'noisy', 'ideal' or times, e.g. on=('1h', '1d').")
        try:
            dict.fromkeys(self.seconds)
        except ValueError as error:
            raise ValueError(f"{error} Validation.on also takes 'noisy' and 'ideal'.") from None

    @property
    def entries(self) -> tuple[str, ...]:
        """What is measured, as it stands behind the ``@``."""
        on = [self.on] if isinstance(self.on, str | int | float) else list(self.on)
        return tuple(dict.fromkeys(x if isinstance(x, str) else f"{x:g}s" for x in on))

    @property
    def seconds(self) -> dict[str, float]:
        """Times after programming, by their text, ascending."""
        names = [name for name in self.entries if name not in ("noisy", "ideal")]
        return dict(sorted(((n, parse_time(n)) for n in names), key=lambda item: item[1]))


class ValidationRunner(Callback):
    """Takes the place of the validation loop's ``run`` during fit.

    Args:
        validation: What to measure.
    """

    def __init__(self, validation: Validation) -> None:
        self._validation = validation
        self._results: dict[str, float] = {}

    def install(self, trainer: Trainer, module: LightningModule) -> None:
        """Arrange that further passes precede each validation, but no sanity check."""
        loop = trainer.fit_loop.epoch_loop.val_loop

        def run() -> list[Any]:
            if trainer.sanity_checking:
                return type(loop).run(loop)
            callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
            self._results = self._measure(trainer, loop, module)
            # First, so that all others find the results.
            trainer.callbacks = [self, *callbacks]  # type: ignore[attr-defined]
            try:
                return type(loop).run(loop)
            finally:
                trainer.callbacks = callbacks  # type: ignore[attr-defined]

        loop.run = run  # type: ignore[method-assign]

    @staticmethod
    def remove(trainer: Trainer) -> None:
        """Give the validation loop its own ``run`` back."""
        vars(trainer.fit_loop.epoch_loop.val_loop).pop("run", None)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the results of the further passes with those of the module's own."""
        # The chip is the same on all ranks, their data are not.
        pl_module.log_dict(self._results, sync_dist=trainer.world_size > 1)

    def _measure(
        self, trainer: Trainer, loop: _EvaluationLoop, module: LightningModule
    ) -> dict[str, float]:
        wanted, results = self._validation, {}
        with _averaged_weights(trainer, module), _apart_from_training(trainer, loop):
            if "ideal" in wanted.entries:
                with digital_layers(module):
                    results.update(_named(_one_pass(loop, wanted.seed), "ideal"))
            sums: dict[str, float] = {}
            try:
                for chip in range(wanted.chips if wanted.seconds else 0):
                    program_(module, wanted.seed + chip)
                    for name, time_s in wanted.seconds.items():
                        set_time_(module, time_s, wanted.seed + chip)
                        logged = _named(_one_pass(loop, wanted.seed), name)
                        for key, value in logged.items():
                            sums[key] = sums.get(key, 0.0) + value / wanted.chips
            finally:
                unprogram_(module)
        return results | sums


def _named(logged: dict[str, float], entry: str) -> dict[str, float]:
    return {f"{metric}@{entry}": value for metric, value in logged.items()}


def _one_pass(loop: _EvaluationLoop, seed: int) -> dict[str, float]:
    # With a shuffled or random loader, each pass sees the same data.
    torch.manual_seed(seed)
    loop._results = _ResultCollection(training=False)
    loop.restarting = False
    outputs = type(loop).run(loop)
    return {name: float(value) for part in outputs for name, value in part.items()}


@contextmanager
def _averaged_weights(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Use the averaged weights of an EMA callback, as the module's own validation does."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    averages = [callback for callback in callbacks if isinstance(callback, WeightAveraging)]
    for average in averages:
        average.on_validation_epoch_start(trainer, module)
    try:
        yield
    finally:
        for average in averages:
            average.on_validation_epoch_end(trainer, module)


@contextmanager
def _apart_from_training(trainer: Trainer, loop: _EvaluationLoop) -> Iterator[None]:
    """Put back all that a pass changes: random numbers, counters, logged metrics, callbacks."""
    connector = trainer._logger_connector
    loop.setup_data()
    generators = _generators(loop)
    before, streams = random_state(), [generator.get_state() for generator in generators]
    names = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics")
    metrics = {name: dict(getattr(connector, name)) for name in names}
    metrics |= {name: getattr(connector, name) for name in ("_first_loop_iter", "_current_fx")}
    progress, results = loop.batch_progress.state_dict(), loop._results
    seen, restarting = loop._seen_batches_per_dataloader.copy(), loop.restarting
    callbacks, verbose = trainer.callbacks, loop.verbose  # type: ignore[attr-defined]
    vars(connector)["log_metrics"], loop.verbose = _nothing, False
    try:
        with silent_bars(callbacks) as bars:
            trainer.callbacks = bars  # type: ignore[attr-defined]
            yield
    finally:
        del vars(connector)["log_metrics"]
        trainer.callbacks, loop.verbose = callbacks, verbose  # type: ignore[attr-defined]
        loop._results, loop._seen_batches_per_dataloader = results, seen
        loop.batch_progress.load_state_dict(progress)
        loop.restarting = restarting
        vars(connector).update(metrics)
        for generator, stream in zip(generators, streams, strict=True):
            generator.set_state(stream)
        set_random_state(before)


def _generators(loop: _EvaluationLoop) -> list[torch.Generator]:
    """Return the generators that users handed to the validation loaders and their samplers."""
    loaders = [] if loop._combined_loader is None else list(loop._combined_loader.flattened)
    owners = [owner for x in loaders for owner in (x, getattr(x, "sampler", None))]
    found = [getattr(owner, "generator", None) for owner in owners]
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def _nothing(*_: object, **__: object) -> None:
    pass

"""Many passes of one Lightning evaluation loop inside a single ``trainer.test`` or ``validate``.

Each ``trainer.test`` call costs a fixed set-up (data loader workers, device moves), and its loop
runs in inference mode, in which no chip may be programmed. The harness takes the place of the
loop's ``run`` for one call: it runs outside inference mode, and calls the original ``run``, which
enters it, once per pass.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    ProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loops import _EvaluationLoop
from lightning.pytorch.utilities.model_helpers import is_overridden

from aimc_lightning.evaluation.ranks import check_whole_data
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.progress import silent_bars
from aimc_lightning.integration.randomness import kept_random_state

#: What a Trainer takes as data: a data module, one or several loaders, or nothing.
Data = LightningDataModule | Iterable[Any] | None

#: Runs the data once with the global generators seeded; returns the logged metrics.
Pass = Callable[[int], dict[str, float]]


@contextmanager
def measured_passes(trainer: Trainer, loop: _EvaluationLoop) -> Iterator[Pass]:
    """Give a function that runs an evaluation loop once; the loop is ready to run.

    Loggers receive nothing from these passes, progress bars and callbacks that act on validation
    results (checkpoints, early stopping) are not called, and the global random generators are put
    back at the end. The data loaders are made once.

    Args:
        trainer: Trainer inside ``test``, ``validate`` or ``fit``, past its set-up.
        loop: The loop to run.

    Yields:
        A function from a seed to the metrics logged in one pass.

    Raises:
        ValueError: By the function, if the loop had no batch.
    """
    connector = trainer._logger_connector
    run = type(loop).run  # not the instance's, which may be a harness

    def run_once(seed: int) -> dict[str, float]:
        # A row depends on its seed alone, also with a shuffled loader or random layers, so that it
        # does not matter which rows were measured before. The state is put back below.
        torch.manual_seed(seed)
        connector.reset_results()
        connector.reset_metrics()
        outputs = run(loop)
        vars(loop)["setup_data"] = _nothing
        check_whole_data(loop)
        if not outputs:
            raise ValueError(
                f"The {loop._stage.dataloader_prefix} data loader gave no batch, so there is "
                "nothing to measure. Check the data set, drop_last, and the Trainer's "
                "limit_test_batches or limit_val_batches."
            )
        return {name: float(value) for part in outputs for name, value in part.items()}

    verbose, loop.verbose = loop.verbose, False
    vars(connector)["log_eval_end_metrics"] = _nothing
    try:
        with quiet_callbacks(trainer), kept_random_state():
            yield run_once
    finally:
        loop.verbose = verbose
        vars(loop).pop("setup_data", None)
        vars(connector).pop("log_eval_end_metrics", None)


@contextmanager
def quiet_callbacks(trainer: Trainer) -> Iterator[None]:
    """Leave out callbacks that would convert again, draw, save or stop because of a measurement."""
    left_out = (Checkpoint, EarlyStopping, ProgressBar, WeightAveraging, AnalogTraining)
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    strategy: Any = trainer.strategy
    settings = vars(strategy).get("analog_settings")
    if settings is not None:
        strategy.analog_settings = None  # our strategies would add AnalogTraining again
    kept = [
        callback
        for callback in callbacks
        if not isinstance(callback, left_out) and not getattr(callback, "programs_chips", False)
    ]
    try:
        with silent_bars(callbacks) as bars:
            trainer.callbacks = [*bars, *kept]  # type: ignore[attr-defined]
            yield
    finally:
        trainer.callbacks = callbacks  # type: ignore[attr-defined]
        if settings is not None:
            strategy.analog_settings = settings


@contextmanager
def replaced_run(loop: _EvaluationLoop, run: Callable[[], list[Any]]) -> Iterator[None]:
    """Let the Trainer call ``run`` where it would run the loop."""
    loop.run = run  # type: ignore[method-assign]
    try:
        yield
    finally:
        vars(loop).pop("run", None)


def run_inside(
    trainer: Trainer,
    module: LightningModule,
    data: Data,
    work: Callable[[_EvaluationLoop], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Do something inside one ``trainer.test``, or ``validate`` without test step or test data.

    Args:
        trainer: Any Trainer.
        module: Its module.
        data: What the Trainer takes as data.
        work: Called past the set-up with the loop whose place it takes, in every process.

    Returns:
        What ``work`` returned in the first process; Lightning passes it on if it is plain.
    """
    testing = runs_test(module, data)
    loop = trainer.test_loop if testing else trainer.validate_loop
    keywords: dict[str, Any] = {"verbose": False}
    if isinstance(data, LightningDataModule):
        keywords["datamodule"] = data
    elif data is not None:
        keywords["dataloaders"] = data
    with quiet_callbacks(trainer), replaced_run(loop, lambda: work(loop)):
        run = trainer.test if testing else trainer.validate
        return run(module, **keywords)  # type: ignore[return-value]


def runs_test(module: LightningModule, data: Data) -> bool:
    """Return whether a module is measured by its test step, not its validation step."""
    if not is_overridden("test_step", module):
        return False
    if isinstance(data, LightningDataModule):
        return is_overridden("test_dataloader", data)
    return data is not None or is_overridden("test_dataloader", module)


def _nothing(*_: object) -> None:
    pass

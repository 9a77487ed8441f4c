"""Training batches run through a module inside an evaluation."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loops import _EvaluationLoop
from lightning.pytorch.utilities.model_helpers import is_overridden
from torchmetrics import Metric

from aimc_lightning.evaluation.harness import Data


def training_source(data: Data, module: LightningModule) -> Any:  # noqa: ANN401 - see below
    """Return the data module or module that has a training loader; ``None`` if neither has."""
    source = data if isinstance(data, LightningDataModule) else module
    return source if is_overridden("train_dataloader", source) else None


def evaluated_batches(loop: _EvaluationLoop) -> Iterable[Any]:
    """Return the first loader of the data that a loop evaluates."""
    loop.setup_data()
    loaders: Any = loop._combined_loader
    first: Iterable[Any] = loaders.flattened[0]
    return first


def evaluation_step(trainer: Trainer, module: LightningModule) -> Callable[..., Any]:
    """Return the step that a Trainer inside ``test`` or ``validate`` runs."""
    return module.test_step if trainer.testing else module.validation_step


@torch.no_grad()
def run_batches(
    trainer: Trainer, module: LightningModule, batches: Iterable[Any], step: Callable[..., Any]
) -> int:
    """Run a step on batches, without gradient; what it logs is dropped, metrics stay as they are.

    Args:
        trainer: Trainer past its set-up.
        module: Its module.
        batches: Batches as the loader gives them.
        step: Called as ``step(batch, index)``.

    Returns:
        Number of batches.
    """
    count = 0
    metrics = [part for part in module.modules() if isinstance(part, Metric)]
    kept = [_copied(vars(metric)) for metric in metrics]
    for metric in metrics:
        metric.reset()  # a digital pass before this left tensors of inference mode
    vars(module).update(log=_drop, log_dict=_drop)
    try:
        for batch in batches:
            batch = trainer.precision_plugin.convert_input(batch)
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            with trainer.precision_plugin.forward_context():
                step(batch, count)
            count += 1
    finally:
        del vars(module)["log"], vars(module)["log_dict"]
        for metric, state in zip(metrics, kept, strict=True):
            vars(metric).update(state)
    return count


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy that ``Metric.reset`` does not empty; it clears lists in place."""
    return {key: list(value) if isinstance(value, list) else value for key, value in state.items()}


def _drop(*_: object, **__: object) -> None:
    pass

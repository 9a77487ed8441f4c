"""Combinations of Trainer, module and callbacks that would fail without a word: found at set-up."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities import rank_zero_warn

from aimc_lightning.nn.base import analog_layers


def check_trainer(
    trainer: Trainer, callback: Callback, module: LightningModule, stage: str
) -> None:
    """Raise if a run could not give the analog model the user expects.

    Args:
        trainer: The Trainer in its ``setup``.
        callback: The ``AnalogTraining`` callback that asks.
        module: The Trainer's module, analog already if it was converted before.
        stage: Lightning's stage, ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

    Raises:
        ValueError: Says what to change.
    """
    _check_strategy(trainer)
    if stage != "fit" or analog_layers(module):
        _check_manual_distillation(callback, module)
        return
    _check_weight_averaging(trainer, callback)
    _check_manual_distillation(callback, module)
    launcher = trainer.strategy.launcher
    forks = isinstance(launcher, _MultiProcessingLauncher)
    if forks and not getattr(launcher, "converts_module", False):
        raise ValueError(
            "This strategy starts its processes by fork or spawn: the analog weights would stay in "
            "the workers and the module here would remain digital. Use strategy='aimc_ddp_fork' or "
            "'aimc_ddp_spawn', which convert in time, or convert_to_analog(module, ...) before fit."
        )


def warn_of_evaluation_mode(module: LightningModule) -> None:
    """Say so if analog layers learn without training noise because nobody called ``train()``.

    Args:
        module: The analog module at the start of ``fit``. Checkpoints load in evaluation mode, and
            Lightning leaves the mode of each layer as it is.
    """
    quiet = [
        name
        for name, layer in analog_layers(module).items()
        if not layer.training and any(p.requires_grad for p in layer.parameters())
    ]
    if quiet:
        shown = ", ".join(quiet[:3]) + (", ..." if quiet[3:] else "")
        rank_zero_warn(
            f"{len(quiet)} analog layers ({shown}) are in evaluation mode: they learn without "
            "training noise. Call module.train() before fit, unless that is what you want."
        )


def _check_strategy(trainer: Trainer) -> None:
    strategy = trainer.strategy
    refused = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)
    if getattr(strategy, "gathers_weights", False):
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, WeightAveraging):
                raise ValueError(
                    f"{type(callback).__name__} averages whole copies of a module, "
                    f"{type(strategy).__name__} cuts its weights up. Use strategy='aimc_ddp'."
                )
    elif isinstance(strategy, refused):
        raise ValueError(
            f"{type(strategy).__name__} leaves each process a part of a layer's weights: the "
            "column maxima that scale and clip the weights of a crossbar cannot be computed from "
            "it. Use strategy='aimc_fsdp', which also shares weights among processes but reduces "
            "what belongs together, or 'aimc_ddp'."
        )


def _check_weight_averaging(trainer: Trainer, callback: Callback) -> None:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for other in callbacks:
        name = type(other).__name__
        if isinstance(other, StochasticWeightAveraging):
            raise ValueError(
                f"{name} copies the module before its layers become analog. Use "
                "WeightAveraging or EMAWeightAveraging, listed after AnalogTraining, or convert "
                "the module with convert_to_analog before fit."
            )
        if other is callback:
            continue
        before = callbacks.index(other) < callbacks.index(callback)
        if isinstance(other, WeightAveraging) and before:
            raise ValueError(
                f"{name} is listed before {type(callback).__name__} and would average a digital "
                f"copy. List it after: callbacks=[{type(callback).__name__}(...), {name}(...)]."
            )


def _check_manual_distillation(callback: Callback, module: LightningModule) -> None:
    wanted = getattr(callback, "distillation", None) is not None
    if wanted and not module.automatic_optimization:
        raise ValueError(
            "Distillation adds to the loss that training_step returns; with "
            "automatic_optimization=False nothing is done with that loss. Compute the distillation "
            "term in your training_step, or use automatic optimization."
        )

"""Input ranges sought anew at the end of training."""

import itertools
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from aimc_lightning.evaluation.calibration import (
    Method,
    check_calibration,
    learned_tiles,
    set_input_ranges_,
)
from aimc_lightning.integration.randomness import kept_random_state
from aimc_lightning.integration.steps import agree_on_inputs_


class CalibrateInputRanges(Callback):
    """Sets the learned input ranges anew when training ends; see ``calibrate_input_ranges``.

    Example:
        >>> callbacks = [CalibrateInputRanges(max_batches=10)]

    Training moves a range by the inputs that it clips and knows nothing of the small currents of an
    aged chip, whose outputs drown in the noise of the ADC. The search of ``"mvm_error"`` does, if
    ``input_range.init_times_s`` names such an age.

    The ranges are set after the last step that ``max_steps`` or ``max_epochs`` allows, so that the
    last validation and the last files of ``ModelCheckpoint`` have them. A run that ends earlier
    sets them once it has ended; its files have those of training, and a message says so: save the
    new ones by ``trainer.save_checkpoint`` after ``fit``.

    Args:
        method: See :func:`~aimc_lightning.evaluation.calibration.calibrate_input_ranges`.
        max_batches: Training batches at most, on each process.

    Raises:
        ValueError: If an argument is out of range; at the start of training, if no tile learns its
            range, the module has neither ``validation_step`` nor ``test_step``, or a callback
            averages weights, which puts averaged ranges in the place of the new ones.
    """

    def __init__(self, method: Method = "mvm_error", max_batches: int = 20) -> None:
        check_calibration(method, max_batches)
        self.method, self.max_batches = method, max_batches
        self._done = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the module before hours of training."""
        self._done = False
        if not learned_tiles(pl_module):
            raise ValueError(
                f"CalibrateInputRanges: {type(pl_module).__name__} has no analog layer with "
                "input_range.mode 'learned'. Put AnalogTraining before it in callbacks, or leave "
                "it out."
            )
        self._step(pl_module)
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        for other in callbacks:
            if isinstance(other, WeightAveraging | StochasticWeightAveraging):
                raise ValueError(
                    f"CalibrateInputRanges: {type(other).__name__} puts averages over training in "
                    "the place of the new ranges. Leave CalibrateInputRanges out, and call "
                    "calibrate_input_ranges after fit."
                )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - as in the base class
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Set the ranges after the last step, before it is validated and saved."""
        if _is_last_step(trainer):
            self._calibrate(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the ranges of a run that ended before its last step."""
        if self._done:
            return
        self._calibrate(trainer, pl_module)
        if trainer.checkpoint_callbacks:
            rank_zero_info(
                "CalibrateInputRanges: the files of ModelCheckpoint have the ranges of training; "
                "save the new ones by trainer.save_checkpoint."
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the ranges of a run that was resumed at its end, where nothing is trained."""
        if not self._done:
            self._calibrate(trainer, pl_module)

    def _step(self, module: LightningModule) -> Any:  # noqa: ANN401 - a bound method
        for name in ("validation_step", "test_step"):
            if is_overridden(name, module):
                return getattr(module, name)
        raise ValueError(
            f"{type(module).__name__} has no validation_step and no test_step, of which "
            "CalibrateInputRanges needs one to run training batches; define it."
        )

    def _calibrate(self, trainer: Trainer, module: LightningModule) -> None:
        loader: Any = trainer.train_dataloader
        with kept_random_state():
            torch.manual_seed(0)
            batches = itertools.islice(loader, self.max_batches)
            set_input_ranges_(trainer, module, batches, self._step(module), self.method)
        tiles = learned_tiles(module).values()
        centrings = [tile.centring for tile in tiles if tile.centring is not None]
        agree_on_inputs_(tiles, centrings)
        self._done = True
        rank_zero_info(
            f"CalibrateInputRanges: input ranges of {len(tiles)} tiles set anew by {self.method!r}."
        )


def _is_last_step(trainer: Trainer) -> bool:
    """Return whether a limit of the Trainer ends the training with this batch."""
    steps, epochs = trainer.max_steps, trainer.max_epochs
    if 0 <= steps <= trainer.global_step:
        return True
    return (
        trainer.is_last_batch and epochs not in (None, -1) and trainer.current_epoch + 1 >= epochs
    )

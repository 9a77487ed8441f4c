"""Input ranges sought anew at the end of training."""

import itertools
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from aimc_lightning.evaluation.calibration import (
    Method,
    check_calibration,
    learned_tiles,
    set_input_ranges_,
)
from aimc_lightning.integration.randomness import kept_random_state
from aimc_lightning.integration.steps import average_over_processes_


class CalibrateInputRanges(Callback):
    """Sets the learned input ranges anew when training ends; see ``calibrate_input_ranges``.

    Example:
        >>> callbacks = [CalibrateInputRanges(max_batches=10)]

    Training moves a range by the inputs that it clips and knows nothing of the small currents of an
    aged chip, whose outputs drown in the noise of the ADC. The search of ``"mvm_error"`` does, if
    ``input_range.init_times_s`` names such an age. The files of ``ModelCheckpoint`` are written
    before, with the ranges of training; save the new ones by ``trainer.save_checkpoint`` after
    ``fit``.

    Args:
        method: See :func:`~aimc_lightning.evaluation.calibration.calibrate_input_ranges`.
        max_batches: Training batches at most, on each process.

    Raises:
        ValueError: If an argument is out of range; at the start of training, if no tile learns its
            range or the module has neither ``validation_step`` nor ``test_step``.
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

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the ranges."""
        self._calibrate(trainer, pl_module)

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
        means = [tile.centring.mean for tile in tiles if tile.centring is not None]
        average_over_processes_([tile.input_range for tile in tiles] + means)
        self._done = True
        rank_zero_info(
            f"CalibrateInputRanges: input ranges of {len(tiles)} tiles set anew by {self.method!r}."
        )

"""A digital stage that was stopped goes on with the same data order and random numbers."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from aimc_lightning.integration.resume import TrainingStream

_KEY = "aimc_lightning_stream"  # in the checkpoint


class ExactResume(Callback):
    """Does for a digital module what ``AnalogTraining`` does for an analog one.

    Lightning alone reads an epoch anew from its first batch, and drops other neurons.
    """

    def __init__(self) -> None:
        self._stream = TrainingStream()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the random numbers from which the data loader is made."""
        self._stream.on_fit_start()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go to the place where a resumed run was interrupted."""
        self._stream.on_train_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the order of the epoch's data comes from."""
        self._stream.on_train_epoch_start(trainer)

    def on_train_batch_end(self, *_: object) -> None:
        """Note where the random numbers of the next batch come from."""
        self._stream.on_train_batch_end()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep validation from changing the training that follows."""
        self._stream.on_validation_end(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add random numbers and data order."""
        checkpoint[_KEY] = self._stream.state_dict(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take them over; a checkpoint of an older version has none."""
        if _KEY in checkpoint:
            self._stream.load_state_dict(trainer, checkpoint[_KEY])

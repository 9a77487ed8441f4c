"""What Lightning's loops take wrongly when a run is resumed, and how it is put right."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loops.loop import _Loop

from aimc_lightning.integration.randomness import random_state, set_random_state


def count_next_epoch(trainer: Trainer) -> None:
    """Have Lightning begin an epoch after a checkpoint of the end of the one before.

    After one of its last batch Lightning has closed that epoch, but still takes the next one for
    it: it neither counts it nor calls ``on_train_epoch_start``, and a checkpoint inside could not
    be resumed from. After one of its end, if ``max_steps`` is set, it takes the finished epoch for
    an unfinished one and closes it again: a run that ``max_epochs`` ends loses its last epoch.

    Args:
        trainer: Trainer that was resumed, about to begin its first epoch.
    """
    loop: Any = trainer.fit_loop
    progress = loop.epoch_progress
    if loop.restarted_on_epoch_end:
        progress.increment_completed()
        set_restarting = vars(_Loop)["restarting"].fset  # that of FitLoop ignores False
        set_restarting(loop, False)
        loop.epoch_loop.reset_restart_stage()
        loop.reset_restart_stage()
    elif loop.restarted_mid_epoch and progress.total.processed == progress.total.ready:
        loop.reset_restart_stage()


def keep_random_state_in_fast_forward(trainer: Trainer) -> None:
    """Keep Lightning from drawing random numbers while it skips a validation already done.

    After a checkpoint that was written just before a validation, Lightning makes the iterator of
    the validation loader only to advance its counters. That draws a seed from the global generator,
    between our last hook and the next training batch.

    Args:
        trainer: Trainer that was resumed.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    original = type(loop).increment_progress_to_evaluation_end

    def keep_random_state() -> None:
        state = random_state()
        original(loop)
        set_random_state(state)

    loop.increment_progress_to_evaluation_end = keep_random_state  # type: ignore[method-assign]

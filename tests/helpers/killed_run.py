"""A training run that kills itself, with everything active that keeps state between batches."""

import contextlib
import os
import random
import signal
import warnings
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from torch.multiprocessing import ProcessExitedException

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.schedule import NoiseSchedule
from tests.helpers.toy import NOISY, Toy, ToyData, trainer

EPOCHS, BATCHES, ACCUMULATED = 3, 11, 4
#: Hooks of the Trainer in which a run may die, in the order of a batch.
HOOKS = (
    "on_train_batch_start",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_save_checkpoint",
)
Point = tuple[str, int]


class _Scheduled(Toy):
    """Moments in the optimizer, and a learning rate that changes with each step."""

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=9)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class _Kill(Callback):
    """Kills each process that trains at the first call of a hook from a batch on."""

    def __init__(self, hook: str, batch: int) -> None:
        def die(trainer: Trainer, module: LightningModule, *_: Any) -> None:
            if trainer.fit_loop.total_batch_idx + 1 >= batch:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(self, hook, die)


def random_points(count: int, seed: int) -> list[Point]:
    """Return places in the middle of epochs, not before the first checkpoint."""
    draw = random.Random(seed)
    inside = [
        epoch * BATCHES + batch
        for epoch in range(EPOCHS)
        for batch in range(1, BATCHES - 1)
        if epoch or batch > ACCUMULATED
    ]
    return [(draw.choice(HOOKS), draw.choice(inside)) for _ in range(count)]


def run(
    context: BaseContext | None,
    folder: Path,
    devices: int,
    kill: Point | None = None,
    strategy: str = "aimc_ddp_fork",
) -> bool:
    """Train, from the last checkpoint if there is one, and return whether the run came to its end.

    Args:
        context: How a process for the run is started; ``None`` runs it in this one, which is only
            allowed with two devices, since these train in processes of their own.
        folder: Of the checkpoints and, at the end, ``end.pt``.
        devices: 1, or 2 for two more processes.
        kill: Hook and batch, counted over epochs, in which to die.
        strategy: Strategy of two devices; sharded weights are not averaged (EMA).
    """
    if context is None:
        with contextlib.suppress(ProcessExitedException):
            train(folder, devices, kill, strategy)
    else:
        process = context.Process(target=train, args=(folder, devices, kill, strategy))  # type: ignore[attr-defined]
        process.start()
        process.join(120)
        expected = 0 if kill is None else -signal.SIGKILL if devices == 1 else 1
        assert process.exitcode == expected, process.exitcode
    return (folder / "end.pt").exists()


def train(folder: Path, devices: int, kill: Point | None, strategy: str) -> None:
    """Do what :func:`run` says, in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    checkpoints = sorted(folder.glob("step=*.ckpt"), key=_step)
    seed_everything(len(checkpoints), verbose=False)  # a resumed run starts in another random state
    schedule = NoiseSchedule(unit="step", noise_free=1, ramp=6)
    run = trainer(
        AnalogTraining(NOISY, schedule=schedule),
        *([] if "fsdp" in strategy else [EMAWeightAveraging(decay=0.9)]),
        ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=1),
        *([_Kill(*kill)] if kill else []),
        epochs=EPOCHS,
        accumulate_grad_batches=ACCUMULATED,
        strategy=strategy if devices > 1 else "auto",
        devices=devices,
    )
    module = _Scheduled()
    run.fit(
        module,
        ToyData(samples=8 * BATCHES * devices),
        ckpt_path=checkpoints[-1] if checkpoints else None,
    )
    torch.save(module.state_dict(), folder / "end.pt")


def _step(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix("step="))


def end_state(folder: Path) -> dict[str, Any]:
    """Return what a finished run left: weights, ranges, optimizer, averages, scheduler, streams."""
    last = torch.load(max(folder.glob("step=*.ckpt"), key=_step), weights_only=True)
    callbacks = {k: v for k, v in last["callbacks"].items() if not k.startswith("ModelCheckpoint")}
    names = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    averages = {k: v for k, v in last.items() if k in ("averaging_state", "current_model_state")}
    return {
        "end": torch.load(folder / "end.pt", weights_only=True),
        "callbacks": callbacks,
        **averages,
        **{name: last[name] for name in names},
    }

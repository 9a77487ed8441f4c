"""A small LightningModule, data and Trainers for tests of callbacks and evaluation."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from aimc_lightning.config import ClipConfig, InputRangeConfig, TileConfig, WeightNoiseConfig

#: Lightning advises on data loader workers, loggers and the like; that is not what is tested.
LIGHTNING_ADVICE = (
    "ignore:.*does not have many workers.*",
    "ignore:.*The number of training batches.*",
    "ignore:.*smaller than the logging interval.*",
    "ignore:.*You're resuming from a checkpoint that ended before the epoch ended.*",
    "ignore:.*that overrides the configure_model.*",
    "ignore:.*Checkpoint directory .* exists and is not empty.*",
    "ignore:.*isinstance.treespec, LeafSpec.*",
    "ignore:.*saving a checkpoint outside the 'fit' stage.*",
    "ignore:.*use_fork.*:DeprecationWarning",
    "ignore:.*multi-threaded, use of fork.*:DeprecationWarning",
    "ignore:.*litlogger.*",
    "ignore:.*Total length of `DataLoader` across ranks is zero.*",
    "ignore:.*You have overridden `on_before_batch_transfer`.*",
    "ignore:.*It is recommended to use .*sync_dist=True.*",
    "ignore:.*using `.*Distributed.*` .*devices.*",
    "ignore:.*Using `DistributedSampler` with the dataloaders.*",
)

#: Every effect on, held noise and clipping included, and input ranges set after three batches.
NOISY = TileConfig(
    weight_noise=WeightNoiseConfig(std=3.0, draw="step"),
    clip=ClipConfig(type="gaussian", sigma=2.0),
    input_range=InputRangeConfig(init_batches=3),
)


class Toy(LightningModule):
    """Two linear layers; ``where`` says in which hook they are made."""

    def __init__(self, where: str = "init", hidden: int = 8, fast: bool = True) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.where = where
        self.hidden = hidden
        self.net: nn.Module | None = None
        if where == "init":
            self._make()

    def _make(self) -> None:
        if self.net is None:
            self.net = nn.Sequential(
                nn.Linear(4, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 3)
            )

    def setup(self, stage: str) -> None:
        if self.where == "setup":
            self._make()

    def configure_model(self) -> None:
        if self.where == "configure_model":
            self._make()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def _loss(self, batch: list[Tensor]) -> tuple[Tensor, Tensor]:
        x, y = batch
        logits = self(x)
        return nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).float().mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self._loss(batch)[0]

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, accuracy = self._loss(batch)
        self.log_dict({"val_loss": loss, "val_acc": accuracy})

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, accuracy = self._loss(batch)
        self.log_dict({"test_loss": loss, "test_acc": accuracy})

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.2, momentum=0.9)
        return {
            "optimizer": optimizer,
            "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9),
        }


class ToyData(LightningDataModule):
    """Points in four dimensions, three linearly separable classes."""

    def __init__(self, samples: int = 44, workers: int = 0, test_samples: int | None = None):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(200, 4, generator=generator)
        y = (x @ torch.randn(4, 3, generator=generator)).argmax(1)
        self.points = TensorDataset(x, y)
        self.samples = samples
        self.test_samples = samples if test_samples is None else test_samples
        self.workers = workers

    def _loader(self, count: int, batch_size: int, shuffle: bool) -> DataLoader:
        subset = torch.utils.data.Subset(self.points, range(count))
        return DataLoader(
            subset,
            batch_size=batch_size,
            shuffle=shuffle and count > 0,
            num_workers=self.workers,
        )

    def train_dataloader(self) -> DataLoader:
        return self._loader(self.samples, 8, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.samples, 16, shuffle=False)

    def test_dataloader(self) -> DataLoader:
        return self._loader(self.test_samples, 16, shuffle=False)


class OnlyTrained(LightningModule):
    """Has neither an evaluation step nor ``configure_model``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters())


def toy(where: str = "init", seed: int = 0, **settings: Any) -> Toy:
    """Return a module whose weights follow from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Toy(where, **settings)


def trainer(*callbacks: Any, epochs: int = 2, **settings: Any) -> Trainer:
    """Return a quiet Trainer on the CPU."""
    defaults: dict[str, Any] = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": any(isinstance(cb, Checkpoint) for cb in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(callbacks=list(callbacks), **{**defaults, **settings})


class SaveOften(Checkpoint):
    """Writes a checkpoint at every hook of the training loop named in ``hooks``."""

    def __init__(self, folder: Path, hooks: tuple[str, ...] = ("batch", "val", "epoch")) -> None:
        self.folder = folder
        self.hooks = hooks

    def _save(self, run: Trainer, hook: str) -> None:
        if hook in self.hooks and not run.sanity_checking and run.state.fn == "fit":
            batch = run.fit_loop.total_batch_idx
            run.save_checkpoint(self.folder / f"{batch:03d}-{hook}.ckpt", weights_only=False)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._save(trainer, "batch")

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self._save(trainer, "val")

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        self._save(trainer, "epoch")

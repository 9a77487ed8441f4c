"""What the commands that study the trained network of a run share: options and files."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from rich.console import Console, RenderableType

from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.recipes.mapped import recipe_of
from aimc_lightning.recipes.recipe import Recipe
from aimc_lightning.recipes.run_folder import RunFolder


class StudyResults(Protocol):
    """Results that can be written and printed."""

    def to_csv(self, path: Path) -> None:
        """Write the table."""
        ...

    def plot(self, path: Path) -> object:
        """Write the figure."""
        ...

    def __rich__(self) -> RenderableType:
        """Return the table for the console."""
        ...


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, and time, number and seed of the chips."""
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("--time", default="1h", help="time after programming (default: 1h)")
    parser.add_argument("--chips", type=int, default=5, metavar="N", help="chips (default: 5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="chooses the chips")


@dataclass(frozen=True)
class StudiedRun:
    """What a study needs of a run.

    Attributes:
        recipe: Its recipe.
        trainer: Trainer of the drift stage, without logger and checkpoints.
        digital: Module with the digital weights.
        trained: Module as retrained, with analog layers.
        data: Its data.
        score: Score of the digital module.
    """

    recipe: Recipe
    trainer: Trainer
    digital: LightningModule
    trained: LightningModule
    data: LightningDataModule
    score: float


def open_study(path: Path) -> StudiedRun:
    """Return the networks and data of a run.

    Args:
        path: Folder of the run.

    Raises:
        FileNotFoundError: If it is none, or its networks are not trained yet.
    """
    folder = RunFolder.read(path)
    trained = folder.trained_checkpoint()
    recipe = recipe_of(folder)
    weights = str(path / "digital" / "weights.safetensors")
    cli = recipe.build(
        "drift", path, "--model.init_args.weights", weights, logger=False,
        enable_checkpointing=False,
    )  # fmt: skip
    return StudiedRun(
        recipe, cli.trainer, cli.model, load_from_checkpoint(type(cli.model), trained),
        cli.datamodule, folder.stages["digital"]["score"],
    )  # fmt: skip


def show_study(results: StudyResults, folder: Path, name: str) -> None:
    """Write ``<name>.csv`` and ``<name>.png`` into the folder of the run, and print the table."""
    results.to_csv(folder / f"{name}.csv")
    results.plot(folder / f"{name}.png")
    console = Console()
    console.print(results)
    console.print(f"files: {folder}")

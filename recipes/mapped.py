"""The analog model of a recipe or run, with one real batch, for reports that train nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.recipes.recipe import Recipe
from aimc_lightning.recipes.run_folder import RunFolder
from aimc_lightning.recipes.tiles import callback_of, tiles_of

_SAMPLES = 4  # counts per sample do not need more


def recipe_of(folder: RunFolder) -> Recipe:
    """Return the recipe that made a run, with its settings.

    Args:
        folder: Folder of the run.

    Raises:
        ValueError: If this version has no such recipe.
        FileNotFoundError: If the run's data folder is gone.
    """
    identity = folder.identity
    data = identity.get("data")
    return Recipe(
        identity["recipe"],
        data_dir=None if data is None else Path(data),
        seed=identity.get("seed"),
        settings=tuple(identity.get("settings", ())),
        task=identity.get("task"),
        recalibrate=tuple(identity.get("recalibrate") or ()),
    )


def mapped_model(
    recipe: Recipe, folder: Path, weights: Path | None = None
) -> tuple[LightningModule, LightningDataModule]:
    """Build a recipe's network, digital weights mapped on tiles as its ``drift.yaml`` says.

    Args:
        recipe: The recipe.
        folder: Folder of the run; decoded data are looked for in it.
        weights: Digital weights; None draws new ones.

    Returns:
        The analog module and the data module, which is not set up yet.

    Raises:
        ValueError: If ``drift.yaml`` names no ``AnalogTraining``.
    """
    arguments = [] if weights is None else ["--model.init_args.weights", str(weights)]
    cli = recipe.build(
        "drift", folder, *arguments, logger=False, enable_checkpointing=False,
        enable_progress_bar=False,
    )  # fmt: skip
    convert_to_analog(cli.model, **tiles_of(callback_of(cli, AnalogTraining)))
    return cli.model, cli.datamodule


def first_samples(data: LightningDataModule) -> Any:  # noqa: ANN401 - whatever its loader gives
    """Return a few samples of the test set, as one batch."""
    data.prepare_data()
    data.setup("test")
    return _first(next(iter(data.test_dataloader())))


def _first(batch: Any) -> Any:  # noqa: ANN401 - any nesting
    if isinstance(batch, Tensor) and batch.dim() > 0:
        return batch[:_SAMPLES]
    if isinstance(batch, Mapping):
        return {key: _first(value) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        return [_first(value) for value in batch]
    return batch

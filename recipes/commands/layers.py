"""``aimc-lightning layers``: what each layer of a trained network contributes to the loss."""

import argparse

from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.evaluation.layers.report import layer_report
from aimc_lightning.recipes.mapped import recipe_of
from aimc_lightning.recipes.run_folder import RunFolder
from aimc_lightning.recipes.study import add_study_arguments, show_study

NAME = "layers"
HELP = "show what each layer of the trained network of a run contributes to the loss"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_study_arguments(parser)
    parser.add_argument(
        "--batches", type=int, default=4, metavar="N",
        help="test batches for the error of the products (default: 4)",
    )  # fmt: skip
    parser.epilog = (
        "example: aimc-lightning layers runs/resnet8_digits --time 1d. Writes layers.csv, which "
        "'aimc-lightning report' shows, and layers.png to RUN. Measurements are kept in "
        "layers_rows.csv there, so the same command goes on after an interruption."
    )


def execute(arguments: argparse.Namespace) -> None:
    """Measure, print the table and write ``layers.csv`` and ``layers.png``."""
    folder = RunFolder.read(arguments.run)
    trained = folder.trained_checkpoint()
    recipe = recipe_of(folder)
    weights = str(folder.path / "digital" / "weights.safetensors")
    cli = recipe.build(
        "drift", folder.path, "--model.init_args.weights", weights, logger=False,
        enable_checkpointing=False,
    )  # fmt: skip
    results = layer_report(
        cli.trainer, load_from_checkpoint(type(cli.model), trained), cli.datamodule,
        arguments.time, arguments.chips, cli.model, arguments.batches,
        metric=recipe.entry.metric, chance=recipe.entry.chance, seed=arguments.seed,
        csv_path=folder.path / "layers_rows.csv",
    )  # fmt: skip
    show_study(results, folder.path, NAME)

"""``aimc-lightning layers``: what each layer of a trained network contributes to the loss."""

import argparse

from aimc_lightning.evaluation.layers.report import layer_report
from aimc_lightning.recipes.study import add_study_arguments, open_study, show_study

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
    run = open_study(arguments.run)
    entry = run.recipe.entry
    results = layer_report(
        run.trainer, run.trained, run.data, arguments.time, arguments.chips, run.digital,
        arguments.batches, metric=entry.metric, chance=entry.chance, seed=arguments.seed,
        csv_path=arguments.run / "layers_rows.csv",
    )  # fmt: skip
    show_study(results, arguments.run, NAME)

"""``aimc-lightning sensitivity``: how much of each nonideality the network of a run tolerates."""

import argparse

from aimc_lightning.evaluation.nonidealities import NONIDEALITIES
from aimc_lightning.evaluation.sensitivity import sensitivity
from aimc_lightning.recipes.study import add_study_arguments, open_study, show_study

NAME = "sensitivity"
HELP = "find how much of each nonideality the trained network of a run tolerates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_study_arguments(parser)
    parser.add_argument(
        "--tolerance", type=float, default=0.1, metavar="X",
        help="stop a search when its bracket is that narrow, relative (default: 0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=list(NONIDEALITIES),
        help=f"nonidealities, of {', '.join(NONIDEALITIES)} (default: all that the network has)",
    )  # fmt: skip
    parser.epilog = (
        "example: aimc-lightning sensitivity runs/resnet8_digits --time 1d --only adc_bits "
        "stuck_zero. Writes sensitivity.csv and sensitivity.png to RUN. Measurements are kept in "
        "sensitivity_rows.csv there, so the same command goes on after an interruption."
    )


def execute(arguments: argparse.Namespace) -> None:
    """Search, print the table and write ``sensitivity.csv`` and ``sensitivity.png``."""
    run = open_study(arguments.run)
    entry = run.recipe.entry
    results = sensitivity(
        run.trainer, run.trained, run.data, arguments.time, arguments.chips, arguments.only,
        arguments.tolerance, metric=entry.metric, chance=entry.chance, digital=run.score,
        seed=arguments.seed, csv_path=arguments.run / "sensitivity_rows.csv",
    )  # fmt: skip
    show_study(results, arguments.run, NAME)

"""The option ``--recalibrate`` that several commands share."""

import argparse

from aimc_lightning.evaluation.variants import METHODS


def add_recalibrate(parser: argparse.ArgumentParser) -> None:
    """Add ``--recalibrate``: stages that show what can be done without training."""
    parser.add_argument(
        "--recalibrate",
        nargs="+",
        metavar="METHOD",
        help="measure each network once more after this, without training, as stages of their own: "
        f"{', '.join(METHODS)}, or several joined by '+'",
    )

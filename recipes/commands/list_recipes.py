"""``aimc-lightning list``: the recipes, what each is about, its size and its scores."""

import argparse
import json

from rich.console import Console

from aimc_lightning.recipes.overview import overview, overview_table

NAME = "list"
HELP = "list the recipes that can be run, with their size and scores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--json", action="store_true", help="print a JSON list instead; scores as fractions of 1"
    )
    parser.epilog = "example: aimc-lightning list --json"


def execute(arguments: argparse.Namespace) -> None:
    """Print one row for each recipe."""
    entries = overview()
    if arguments.json:
        print(json.dumps(entries, indent=2))
    else:
        Console().print(overview_table(entries))

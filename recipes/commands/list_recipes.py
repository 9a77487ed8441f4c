"""``aimc-lightning list``: the recipes and what each is about."""

import argparse

from rich.console import Console
from rich.table import Table

from aimc_lightning.recipes.catalog import list_recipes
from aimc_lightning.zoo.registry import get_entry

NAME = "list"
HELP = "list the recipes that can be run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an example: the command has no options."""
    parser.epilog = "example: aimc-lightning list"


def execute(arguments: argparse.Namespace) -> None:
    """Print one row for each recipe."""
    table = Table(title="Recipes: aimc-lightning run NAME")
    for column in ("name", "task", "data", "licence"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for name in list_recipes():
        entry = get_entry(name)
        table.add_row(name, entry.task, entry.data, entry.licence)
    Console().print(table)

"""``aimc-lightning mapping``: tiles, products, conversions and devices of a network, per layer."""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from aimc_lightning.evaluation.mapping.energy import list_constants, load_constants
from aimc_lightning.evaluation.mapping.report import mapping_report
from aimc_lightning.recipes.catalog import list_recipes
from aimc_lightning.recipes.mapped import first_samples, mapped_model, recipe_of
from aimc_lightning.recipes.recipe import Recipe
from aimc_lightning.recipes.run_folder import RunFolder

NAME = "mapping"
HELP = "count tiles, products, conversions and devices of a network"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("what", metavar="ENTRY|RUN", help="name of a recipe, or folder of a run")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of the data, for a recipe (default: hub)"
    )
    parser.add_argument(
        "--constants",
        action="append",
        metavar="NAME|FILE",
        help="chip for the coarse energy and time, repeatable: "
        f"{', '.join(list_constants())}, or a YAML file of the same form (default: all)",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="write the picture of the tiles (png, svg)"
    )
    parser.epilog = "example: aimc-lightning mapping resnet8_digits --constants hermes_64core_2023"


def execute(arguments: argparse.Namespace) -> None:
    """Make one pass, and print what it took."""
    chips = [load_constants(name) for name in arguments.constants or list_constants()]
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.what in list_recipes():
            recipe, folder = Recipe(arguments.what, data_dir=arguments.data), Path(scratch)
        elif Path(arguments.what).is_dir():
            folder = Path(arguments.what)
            recipe = recipe_of(RunFolder.read(folder))
        else:
            raise ValueError(
                f"{arguments.what!r} is neither a recipe ({', '.join(list_recipes())}) nor the "
                "folder of a run."
            )
        model, data = mapped_model(recipe, folder)
        batch = first_samples(data)
    report = mapping_report(
        model, batch, constants=chips, forward=lambda batch: model.predict_step(batch, 0)
    )
    console = Console()
    console.print(report)
    for path, write in (
        (arguments.csv, report.to_csv),
        (arguments.figure, lambda path: report.to_figure().savefig(path, dpi=120)),
    ):
        if path is not None:
            write(path)
            console.print(f"written: {path}")

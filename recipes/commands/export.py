"""``aimc-lightning export``: make a checkpoint folder of a finished run."""

import argparse
from pathlib import Path

from rich.console import Console

from aimc_lightning.recipes.export import export_run

NAME = "export"
HELP = "make a checkpoint of a finished run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("run", type=Path, help="folder of a run, see 'aimc-lightning run'")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="folder of the checkpoint"
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="store matrices in half precision; measure again before relying on the scores",
    )
    parser.epilog = "example: aimc-lightning export runs/resnet8_digits --out checkpoint"


def execute(arguments: argparse.Namespace) -> None:
    """Write the checkpoint and say how to load it."""
    console = Console()
    folder = export_run(arguments.run, arguments.out, half=arguments.half)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        console.print(f"{path.stat().st_size:>12,} bytes  {name}", highlight=False)
    console.print(f'load it with aimc_lightning.from_pretrained("{arguments.out}")', markup=False)

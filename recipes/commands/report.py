"""``aimc-lightning report``: one HTML page that compares runs; it opens from disk, offline."""

import argparse
from pathlib import Path

from rich.console import Console

from aimc_lightning.evaluation.mapping.energy import list_constants, load_constants
from aimc_lightning.recipes.html_report.page import render_page
from aimc_lightning.recipes.html_report.run_data import read_runs
from aimc_lightning.recipes.run_folder import write_atomically

NAME = "report"
HELP = "write one HTML page that compares runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE",
        help="page to write (default: report.html)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace the page if it exists")
    parser.add_argument(
        "--constants",
        action="append",
        metavar="NAME|FILE",
        help="chip for the coarse energy and time, repeatable: "
        f"{', '.join(list_constants())}, or a YAML file of the same form (default: all)",
    )
    parser.epilog = "example: aimc-lightning report runs/a runs/b --out compare.html"


def execute(arguments: argparse.Namespace) -> None:
    """Read the runs and write the page."""
    out: Path = arguments.out
    if out.is_dir():
        raise IsADirectoryError(f"--out {str(out)!r} is a folder: name a file in it.")
    if out.exists() and not arguments.force:
        raise FileExistsError(f"{str(out)!r} exists: add --force to replace it, or give another.")
    if not out.parent.is_dir():
        raise FileNotFoundError(
            f"--out {str(out)!r}: the folder {str(out.parent)!r} is missing: make it first."
        )
    constants = [load_constants(name) for name in arguments.constants or list_constants()]
    runs = read_runs(arguments.runs, constants)
    write_atomically(out, render_page(runs))
    console = Console()
    for run in runs:
        for note in run.notes:
            console.print(f"{run.label}: {note}", style="yellow", highlight=False)
    console.print(f"page: {out} (opens in any browser, without a network)", highlight=False)

"""What the commands that study the trained network of a run share: options and files."""

import argparse
from pathlib import Path
from typing import Protocol

from rich.console import Console, RenderableType


class StudyResults(Protocol):
    """Results that can be written and printed."""

    def to_csv(self, path: Path) -> None:
        """Write the table."""
        ...

    def plot(self, path: Path) -> object:
        """Write the figure."""
        ...

    def __rich__(self) -> RenderableType:
        """Return the table for the console."""
        ...


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, and time, number and seed of the chips."""
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("--time", default="1h", help="time after programming (default: 1h)")
    parser.add_argument("--chips", type=int, default=5, metavar="N", help="chips (default: 5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="chooses the chips")


def show_study(results: StudyResults, folder: Path, name: str) -> None:
    """Write ``<name>.csv`` and ``<name>.png`` into the folder of the run, and print the table."""
    results.to_csv(folder / f"{name}.csv")
    results.plot(folder / f"{name}.png")
    console = Console()
    console.print(results)
    console.print(f"files: {folder}")

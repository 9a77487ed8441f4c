"""``aimc-lightning explain``: what each stage of a preset or configuration does, and a picture."""

import argparse
import json
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from aimc_lightning.config import TileConfig
from aimc_lightning.explain.figure import transfer_figure
from aimc_lightning.explain.stages import explain
from aimc_lightning.presets import get_preset, list_presets

NAME = "explain"
HELP = "say what each stage of a preset or configuration does"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "config",
        nargs="?",
        default="standard_pcm",
        help=f"a preset ({', '.join(list_presets())}), or a YAML or JSON file with the fields of "
        "TileConfig (default: standard_pcm)",
    )
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="write the transfer characteristics (png, svg)"
    )
    parser.epilog = "example: aimc-lightning explain hermes_2 --figure hermes.png"


def execute(arguments: argparse.Namespace) -> None:
    """Print the stages in their order, and draw them."""
    config = _read(arguments.config)
    table = Table(title=f"{arguments.config}: the chain in its order")
    for column, width in (
        ("part", 8),
        ("stage", 14),
        ("setting", 12),
        ("meaning and source", None),
    ):
        table.add_column(column, overflow="fold", max_width=width)
    previous = None
    for stage in explain(config):
        if previous not in (None, stage.part):
            table.add_section()
        part = "" if stage.part == previous else stage.part
        meaning = f"{stage.meaning}\n[dim]{stage.source}[/dim]"
        table.add_row(part, stage.name, stage.setting, meaning)
        previous = stage.part
    console = Console()
    console.print(table)
    if arguments.figure is not None:
        transfer_figure(config, arguments.config).savefig(arguments.figure, dpi=120)
        console.print(f"figure: {arguments.figure}")


def _read(text: str) -> TileConfig:
    """Return the config that a preset's name or a file describes."""
    path = Path(text)
    if path.suffix not in (".yaml", ".yml", ".json"):
        return get_preset(text)
    if not path.is_file():
        raise FileNotFoundError(f"config file {text!r} does not exist: check the path.")
    content = path.read_text(encoding="utf-8")
    data = json.loads(content) if path.suffix == ".json" else yaml.safe_load(content)
    if not isinstance(data, dict):
        raise ValueError(
            f"{text!r} must hold the fields of TileConfig, for example 'adc: {{bits: 6}}'."
        )
    return TileConfig.from_dict(data)

"""``aimc-lightning pull``: fetch a checkpoint, check it, and say what it is."""

import argparse
import shutil
from pathlib import Path

from rich.console import Console

from aimc_lightning.hub.client import download
from aimc_lightning.hub.config_file import CONFIG_FILE, WEIGHTS_FILE
from aimc_lightning.hub.folder import CARD_FILE, verify_checkpoint
from aimc_lightning.zoo.pretrained import shipped_checkpoint

NAME = "pull"
HELP = "fetch a checkpoint from a hub and check it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("name", help="hub id OWNER/NAME, or an entry of the zoo that ships one")
    parser.add_argument("--revision", help="branch, tag or commit (default: the main branch)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="also copy the files here (default: cache only)"
    )
    parser.epilog = "example: aimc-lightning pull OWNER/NAME --revision v1 --out checkpoint"


def execute(arguments: argparse.Namespace) -> None:
    """Fetch, check and copy the files."""
    out = arguments.out
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f"--out {str(out)!r} exists and is not an empty folder: give another."
        )
    if "/" in arguments.name:
        folder = download(arguments.name, revision=arguments.revision, everything=True)
    elif arguments.revision is not None:
        raise ValueError(f"{arguments.name!r} ships with the package: leave --revision out.")
    else:
        folder = shipped_checkpoint(arguments.name)
    config = verify_checkpoint(folder)
    if out is not None:
        for name in (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, *config["files"]):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, out / name)
        folder = out
    layers = sum(len(entry["layers"]) for entry in config["analog"]["conversions"])
    console = Console()
    console.print(
        f"{arguments.name}: {config['architecture']['name']}, {layers} analog layers, all files "
        f"as published (sha256 {config['weights']['sha256'][:16]}...)",
        highlight=False,
    )
    console.print(f"files: {folder}", markup=False, highlight=False, soft_wrap=True)

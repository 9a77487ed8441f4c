"""``aimc-lightning push``: publish a checkpoint folder on a hub."""

import argparse
from pathlib import Path

from rich.console import Console

from aimc_lightning.hub.client import push_to_hub

NAME = "push"
HELP = "publish a checkpoint on a hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("folder", type=Path, help="checkpoint, see 'aimc-lightning export'")
    parser.add_argument("id", help="hub id OWNER/NAME; made if there is none")
    parser.add_argument("--revision", help="branch (default: the main branch)")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--message", default="Add checkpoint", help="title of the commit")
    parser.epilog = (
        "example: aimc-lightning push checkpoint OWNER/NAME --private. The token is that of 'hf "
        "auth login', or the variable HF_TOKEN."
    )


def execute(arguments: argparse.Namespace) -> None:
    """Check and send the files."""
    commit = push_to_hub(
        arguments.folder,
        arguments.id,
        revision=arguments.revision,
        private=arguments.private,
        message=arguments.message,
    )
    Console().print(f"published {arguments.id} at revision {commit}", highlight=False)

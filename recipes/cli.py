"""The command line ``aimc-lightning``: Lightning's own commands, and one module for each other."""

import argparse
import logging
import sys
import warnings

from aimc_lightning.recipes.commands import (
    completion,
    evaluate,
    explain,
    export,
    layers,
    list_recipes,
    mapping,
    pull,
    push,
    report,
    run_recipe,
    sensitivity,
)
from aimc_lightning.recipes.lightning_cli import AimcCLI

_COMMANDS = (
    list_recipes, run_recipe, evaluate, report, mapping, sensitivity, layers, explain, export,
    pull, push, completion,
)  # fmt: skip
_LIGHTNING = {
    "fit": "train with a LightningCLI configuration",
    "validate": "validate with a LightningCLI configuration",
    "test": "test, or evaluate drift, with a LightningCLI configuration",
    "predict": "predict with a LightningCLI configuration",
}
# Each of these is about something that the library decides, not the user.
_QUIET_WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\).*",  # inside Lightning 2.6 with torch 2.10 and newer
    r".*`tensorboardX` has been removed.*",  # CSV logs are what is wanted
    r".*does not have many workers.*",  # data sits in memory, see zoo/batches.py
    r".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
    r".*number of training batches .* is smaller than the logging interval.*",
)


def main(argv: list[str] | None = None) -> None:
    """Run one command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Raises:
        SystemExit: With 2 after wrong usage, 1 after another error, whose message is printed.
    """
    argv = sys.argv[1:] if argv is None else argv
    _set_up_output()
    if argv and argv[0] in _LIGHTNING:
        AimcCLI(argv)
        return
    arguments = _parser().parse_args(argv)
    try:
        arguments.execute(arguments)
    except (ValueError, OSError, ImportError) as error:
        if arguments.traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt as interrupt:
        raise SystemExit(130) from interrupt


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; Lightning's are listed for the help only."""
    parser = argparse.ArgumentParser(
        prog="aimc-lightning",
        description="Analog in-memory computing for PyTorch Lightning.",
        epilog="'aimc-lightning COMMAND --help' explains a command with an example. First steps: "
        "aimc-lightning list; aimc-lightning run resnet8_digits.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in _COMMANDS:
        about = (module.__doc__ or "").split("``: ", 1)[1]  # after the command's name
        sub = commands.add_parser(
            module.NAME, help=module.HELP, description=about[0].upper() + about[1:]
        )
        sub.add_argument(
            "--traceback", action="store_true", help="show where in the code an error arose"
        )
        module.add_arguments(sub)
        sub.set_defaults(execute=module.execute, complete_parser=parser)
    for name, text in _LIGHTNING.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _set_up_output() -> None:
    """Leave out what the user cannot act on: Lightning's tips and some of its warnings."""
    for message in _QUIET_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)


def _is_no_tip(record: logging.LogRecord) -> bool:
    """Return False for advertisements of other products."""
    return "💡 Tip" not in record.getMessage()

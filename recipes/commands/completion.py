"""``aimc-lightning completion``: print a script that completes commands and options in a shell."""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lightning.pytorch.cli import LightningArgumentParser

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.recipes.lightning_cli import AimcCLI

NAME = "completion"
HELP = "print the completion script of a shell"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="shell to write it for")
    parser.epilog = (
        'example: eval "$(aimc-lightning completion bash)"; put it into ~/.bashrc to keep it. '
        "Needs the package shtab: pip install shtab."
    )


def execute(arguments: argparse.Namespace) -> None:
    """Print the script."""
    try:
        import shtab
    except ImportError as error:
        raise ImportError(
            "'completion' needs the package shtab, which is not installed: pip install shtab"
        ) from error
    parser = arguments.complete_parser
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for name, lightning in _lightning_parsers().items():
        _add_options(commands.choices[name], lightning)
    print(shtab.complete(parser, arguments.shell))


class _Made(Exception):
    """Carries the parsers of Lightning's commands out of its constructor."""


class _Parsers(AimcCLI):
    """Makes the parsers, and neither parses nor runs anything."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:  # noqa: ANN401
        raise _Made(self._subcommand_parsers)


def _lightning_parsers() -> dict[str, argparse.ArgumentParser]:
    try:
        _Parsers([])
    except _Made as made:
        return made.args[0]
    raise RuntimeError(
        "LightningCLI must parse its arguments in its constructor for 'completion' to find the "
        "options of its commands; use a version of lightning that constraints.txt names."
    )


def _add_options(parser: argparse.ArgumentParser, lightning: argparse.ArgumentParser) -> None:
    """Give a parser the options of one of Lightning's, and those of ``AnalogTraining``.

    The latter exist only once ``--trainer.callbacks+=aimc_lightning.AnalogTraining`` was parsed.
    """
    for action in lightning._actions:
        if action.option_strings and action.help != argparse.SUPPRESS:
            text = (action.help or "").partition(" (type")[0].replace("%", "%%")
            parser.add_argument(*action.option_strings, help=text)
    for name, choices in _fields(AnalogTraining, "--trainer.callbacks"):
        parser.add_argument(name, choices=choices, help="of AnalogTraining")


def _fields(kind: type, prefix: str) -> Iterator[tuple[str, list[str] | None]]:
    """Yield options and choices of all arguments of a class, dataclasses inside included."""
    for name, hint in get_type_hints(kind.__init__).items():  # type: ignore[misc]
        if name == "return":
            continue
        kinds = [hint] if get_origin(hint) in (None, Literal) else list(get_args(hint))
        choices = [str(c) for k in kinds if get_origin(k) is Literal for c in get_args(k)]
        yield f"{prefix}.{name}", choices or None
        for inner in kinds:
            if isinstance(inner, type) and dataclasses.is_dataclass(inner):
                yield from _fields(inner, f"{prefix}.{name}")

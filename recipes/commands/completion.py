"""``aimc-lightning completion``: print a script that completes commands and options in a shell."""

import argparse

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
    print(shtab.complete(arguments.complete_parser, arguments.shell))

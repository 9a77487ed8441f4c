"""Run the Python blocks of the pages and write what they print under them.

``python -m docs.tools.run_pages [PAGE ...]`` does so for some pages, or all that show outputs. The
blocks of a page share their names, as the cells of a notebook do. Figures that the code writes and
the page shows from ``figures/`` go to ``docs/figures``.
"""

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

DOCS = Path(__file__).resolve().parents[1]
#: A block of code, and the output that may follow it.
_BLOCK = re.compile(
    r"(?P<code>^```python\n(?P<source>.*?)^```\n)(?P<output>\n^```text\n.*?^```\n)?",
    re.DOTALL | re.MULTILINE,
)
_FIGURE = re.compile(r"!\[[^\]]*\]\((?:(?:\.\./)*|docs/)figures/([\w.-]+)\)")


def pages_with_output() -> list[Path]:
    """Return the pages whose blocks are run in order and show what they print."""
    return sorted(path for path in DOCS.rglob("*.md") if _output_follows(path.read_text()))


def _output_follows(text: str) -> bool:
    return any(match["output"] for match in _BLOCK.finditer(text))


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the Python blocks of a page, padded so that line numbers are those of the page."""
    for match in _BLOCK.finditer(text):
        yield "\n" * text[: match.start("source")].count("\n") + match["source"], match["source"]


def run(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Run the blocks of a page in the present folder; yield each with what it prints.

    Args:
        text: The page.
        name: Its name, for error messages.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for padded, source in blocks(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(padded, name, "exec"), names)
        # Progress bars are for a terminal.
        lines = [line.rstrip() for line in printed.getvalue().splitlines() if "━" not in line]
        yield source, "\n".join(lines).strip("\n")


def with_outputs(text: str, outputs: list[str]) -> str:
    """Return a page with new outputs under its blocks.

    Args:
        text: The page.
        outputs: What each block prints.
    """
    left = iter(outputs)

    def renewed(match: re.Match[str]) -> str:
        output = next(left)
        shown = f"\n```text\n{output}\n```\n" if output else ""
        return match["code"] + shown

    return _BLOCK.sub(renewed, text)


def shown_outputs(text: str) -> list[str]:
    """Return the output that a page shows under each block; empty where it shows none."""
    return [
        "\n".join((match["output"] or "").strip("\n").splitlines()[1:-1])
        for match in _BLOCK.finditer(text)
    ]


def figures(text: str) -> list[str]:
    """Return the names of the figures that a page shows from ``figures/``."""
    return _FIGURE.findall(text)


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """Work in an empty folder for a while, with one thread and torch's seed at zero."""
    before, threads = Path.cwd(), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        torch.set_num_threads(1)  # the same numbers on any machine
        torch.manual_seed(0)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)
            torch.set_num_threads(threads)


def renew(path: Path) -> None:
    """Run a page and write its outputs and figures."""
    text = path.read_text()
    with fresh_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = [output for _, output in run(text, path.name)]
        for name in figures(text):
            if (folder / name).is_file():  # others are drawn by docs/tools/figures.py
                shutil.copyfile(folder / name, DOCS / "figures" / name)
    path.write_text(with_outputs(text, outputs))
    print(f"ran {path.relative_to(DOCS)}")


def main() -> None:
    """Renew the pages named on the command line, or all with outputs."""
    for path in [Path(name).resolve() for name in sys.argv[1:]] or pages_with_output():
        renew(path)


if __name__ == "__main__":
    main()

"""Pages of the site that are made: reference, settings, cards of the zoo, conclusions."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from docs.tools import conclusions, config_table, docstrings, error_messages

#: Page, title, one sentence, and the modules or packages that it documents.
REFERENCE = (
    ("functional", "Functional", "Physics on plain tensors: no modules, no settings.",
     ("functional",)),
    ("devices", "Devices and converters", "Memory devices, and how weights become conductances.",
     ("devices",)),
    ("tiles", "Tiles", "One crossbar with its periphery, arrays of them, and a programmed chip.",
     ("tiles",)),
    ("nn", "Layers", "Analog layers, and controls over all of them in a model.", ("nn",)),
    ("conversion", "Conversion and settings", "From a digital model to an analog one, and what a "
     "tile is made of. All settings with units and ranges: [Tile settings](config.md).",
     ("config", "forward_config", "tile_config", "presets", "conversion", "selection", "report",
      "explain")),
    ("integration", "Training", "The callback, strategies and what belongs to them.",
     ("integration",)),
    ("evaluation", "Evaluation", "Drift, sensitivity, calibration, mapping.",
     ("evaluation", "times")),
    ("hub", "Checkpoints", "Saving, loading, importing.",
     ("checkpoint", "hub", "importer", "foreign_config", "foreign_device")),
    ("zoo", "Zoo and recipes", "Networks with data and results, and the command line.",
     ("zoo", "recipes")),
)  # fmt: skip
#: Compiled loops behind functional.fused: nobody calls them by hand.
_INTERNAL = re.compile(r"functional\.(cpu_|gpu_|fused_(gpu_)?backward)|__main__")
_FOLDERS = {"zoo": "zoo", "recipes": "recipes"}


def pages(root: Path) -> dict[str, str]:
    """Return the text of each page by its path.

    Args:
        root: Folder of the repository.
    """
    made = {
        f"reference/{name}.md": reference_page(root, title, text, parts)
        for name, title, text, parts in REFERENCE
    }
    made["reference/index.md"] = public_names(root)
    made["reference/config.md"] = config_table.page()
    made["reference/errors.md"] = error_messages.page(root)
    made["zoo.md"] = zoo_cards(root)
    made["conclusions.md"] = conclusions.page(root)
    return made


def modules(root: Path, part: str) -> Iterator[str]:
    """Yield the public modules of a part of the library that have more than a docstring.

    Args:
        root: Folder of the repository.
        part: Package or module below ``aimc_lightning``.
    """
    base = root / _FOLDERS.get(part, f"aimc_lightning/{part}")
    paths = sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]
    for path in paths:
        inner = path.relative_to(base).with_suffix("").parts if base.is_dir() else ()
        name = ".".join(("aimc_lightning", part, *inner))
        if inner[-1:] != ("__init__",) and not _INTERNAL.search(name):
            yield name


def reference_page(root: Path, title: str, text: str, parts: tuple[str, ...]) -> str:
    """Return a page that documents all modules of some parts."""
    names = [name for part in parts for name in modules(root, part)]
    return "\n\n".join([f"# {title}", text, *(f"::: {name}" for name in names), ""])


def public_names(root: Path) -> str:
    """Return the page of all names that ``aimc_lightning`` itself exports, with their sentences."""
    tree = ast.parse((root / "aimc_lightning" / "__init__.py").read_text())
    rows = []
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if alias.asname is not None:  # exported on purpose
                sentence = _first_sentence(
                    getattr(importlib.import_module(node.module), alias.name)
                )
                rows.append(f"| [`{alias.name}`][{node.module}.{alias.name}] | {sentence} |")
    text = (
        "# Reference\n\nNames that `import aimc_lightning` gives; everything else is in the pages "
    )
    text += "of its part.\n\n| name | |\n|---|---|\n"
    return text + "\n".join(sorted(rows, key=str.lower)) + "\n"


def _first_sentence(thing: object) -> str:
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return docstrings.to_markdown(text).replace("``", "`").replace("|", "\\|")


def zoo_cards(root: Path) -> str:
    """Return all cards of the zoo on one page."""
    cards = [path.read_text().strip() for path in sorted((root / "zoo").glob("*/card.md"))]
    text = (
        "# Zoo\n\nNetworks with their data, recipes and measured results. "
        "`aimc-lightning run NAME` makes the numbers of an entry again; see [Recipes](recipes.md)."
    )
    return "\n\n".join([text, *(re.sub(r"^#", "##", card, flags=re.M) for card in cards), ""])

"""Parameters and tiles of each entry, kept beside it: ``python -m aimc_lightning.recipes.sizes``.

Building the largest entries takes seconds, and the list of all of them must not. Without arguments
this writes ``zoo/<entry>/size.json`` of every entry, with names of those; the tests compare.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import torch

from aimc_lightning.nn.base import analog_arrays, analog_layers
from aimc_lightning.recipes.catalog import list_recipes
from aimc_lightning.recipes.mapped import mapped_model
from aimc_lightning.recipes.recipe import Recipe
from aimc_lightning.recipes.run_folder import write_atomically
from aimc_lightning.zoo.registry import get_model


@dataclass(frozen=True)
class Size:
    """How large an entry is.

    Attributes:
        parameters: Trained numbers of the digital network.
        tiles: Tiles that it takes as the recipe's ``drift.yaml`` maps it.
    """

    parameters: int
    tiles: int


def size_of(name: str) -> Size:
    """Return the size of an entry, from its ``size.json`` or, if it has none yet, measured.

    Args:
        name: A recipe.

    Returns:
        The size.
    """
    path = Path(str(files("aimc_lightning.zoo") / name / "size.json"))
    if not path.is_file():
        return measure_size(name)
    return Size(**json.loads(path.read_text(encoding="utf-8")))


def measure_size(name: str) -> Size:
    """Build an entry, map it on tiles, and count.

    Args:
        name: A recipe.

    Returns:
        The size.
    """
    with torch.device("meta"):  # parameters are counted, not drawn
        parameters = sum(parameter.numel() for parameter in get_model(name).parameters())
    with tempfile.TemporaryDirectory() as folder:
        model, _ = mapped_model(Recipe(name), Path(folder))
    tiles = sum(
        len(array.crossbars)
        for layer in analog_layers(model).values()
        for array, _ in analog_arrays(layer).values()
    )
    return Size(parameters, tiles)


def main(argv: list[str] | None = None) -> None:
    """Measure entries and write their files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entries", nargs="*", metavar="ENTRY", help="entries (default: all)")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: here)")
    arguments = parser.parse_args(argv)
    for name in arguments.entries or list_recipes():
        text = json.dumps(asdict(measure_size(name))) + "\n"
        write_atomically(arguments.root / "zoo" / name / "size.json", text)
        print(f"{name}: {text}", end="")


if __name__ == "__main__":
    main()

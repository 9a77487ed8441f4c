"""Whether the conclusions of the published study come out of the networks that ship with the zoo.

``python benchmarks/conclusions.py`` raises each nonideality of each shipped network until it is no
longer tolerated and keeps the tolerances as ``conclusions/<entry>.csv`` beside this file; what is
there is not measured again, and an interrupted network goes on where it stopped.
``python -m docs.tools.conclusions`` writes the page from these files.
"""

import argparse
import tempfile
from pathlib import Path

from aimc_lightning import from_pretrained, sensitivity
from aimc_lightning.recipes.overview import overview
from aimc_lightning.recipes.recipe import Recipe
from aimc_lightning.zoo.registry import get_entry

_FOLDER = Path(__file__).parent / "conclusions"


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entries", nargs="+", metavar="ENTRY", help="networks that ship weights")
    parser.add_argument("--data", type=Path, help="folder of the data, for entries that want one")
    parser.add_argument("--rows", type=Path, help="folder that keeps single measurements")
    parser.add_argument("--chips", type=int, default=5, help="chips at each point")
    parser.add_argument("--tolerance", type=float, default=0.2, help="width of a search's end")
    parser.add_argument("--batches", type=int, help="test batches; without it, all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.entries:
            if not (_FOLDER / f"{name}.csv").is_file():
                _measure(name, arguments, arguments.rows or Path(temporary))


def _measure(name: str, arguments: argparse.Namespace, rows: Path) -> None:
    """Search the tolerances of one network and write them."""
    entry = get_entry(name)
    limit = {} if arguments.batches is None else {"limit_test_batches": arguments.batches}
    cli = Recipe(name, data_dir=arguments.data).build(
        "drift", rows, logger=False, enable_checkpointing=False, enable_progress_bar=False, **limit
    )
    digital = next(each["digital"] for each in overview() if each["name"] == name)
    rows.mkdir(exist_ok=True, parents=True)
    found = sensitivity(
        cli.trainer, from_pretrained(name), cli.datamodule, "1h", arguments.chips,
        tolerance=arguments.tolerance, metric=entry.metric, chance=entry.chance, digital=digital,
        csv_path=rows / f"{name}.csv", progress=False,
    )  # fmt: skip
    found.to_csv(_FOLDER / f"{name}.csv")
    print(name, found, sep="\n", flush=True)


if __name__ == "__main__":
    main()

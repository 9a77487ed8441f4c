"""Whether the conclusions of the published study come out of the networks that ship with the zoo.

``python benchmarks/conclusions.py ENTRY`` raises each nonideality of a shipped network until it is
no longer tolerated and keeps the tolerances as ``conclusions/<entry>.csv`` beside this file. With
``--spare X`` it looks for the fewest layers to spare from device noise for 99 % after a year, on
devices with X times the standard programming noise (the networks that ship need no sparing at 1),
and keeps them as ``conclusions/<entry>.spared.json``. With ``--rows`` an interrupted search goes on
where it stopped. ``make docs`` makes the page from these files.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from aimc_lightning import assign_digital, from_pretrained, sensitivity
from aimc_lightning.evaluation.nonidealities import NONIDEALITIES, changed_config
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
    parser.add_argument(
        "--spare", type=float, metavar="X",
        help="look for layers to spare instead, at X times the programming noise",
    )  # fmt: skip
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.entries:
            _measure(name, arguments, arguments.rows or Path(temporary))


def _measure(name: str, arguments: argparse.Namespace, rows: Path) -> None:
    """Search one network and write what was found."""
    entry = get_entry(name)
    limit = {} if arguments.batches is None else {"limit_test_batches": arguments.batches}
    cli = Recipe(name, data_dir=arguments.data).build(
        "drift", rows, logger=False, enable_checkpointing=False, enable_progress_bar=False, **limit
    )
    rows.mkdir(exist_ok=True, parents=True)
    kind = "" if arguments.spare is None else f".spared{arguments.spare:g}"
    options: dict[str, Any] = {
        "metric": entry.metric,
        "chance": entry.chance,
        "digital": next(each["digital"] for each in overview() if each["name"] == name),
        "csv_path": rows / f"{name}{kind}.csv",
        "progress": False,
    }
    parts = cli.trainer, from_pretrained(name), cli.datamodule
    if arguments.spare is not None:
        _spare(name, parts, arguments.spare, arguments.chips, options)
        return
    found = sensitivity(*parts, "1h", arguments.chips, tolerance=arguments.tolerance, **options)
    found.to_csv(_FOLDER / f"{name}.csv")
    print(name, found, sep="\n", flush=True)


def _spare(
    name: str,
    parts: tuple[Trainer, LightningModule, LightningDataModule],
    noise: float,
    chips: int,
    options: dict[str, Any],
) -> None:
    """Look for layers to spare and write what was found."""
    raised = NONIDEALITIES["programming_noise"]
    with changed_config(parts[1], lambda config: raised.apply(config, noise)):
        spared = assign_digital(*parts, 0.99, "1y", chips, spare="device_noise", **options)
    outcome = {
        "noise": noise,
        "layers": spared.names,
        "share": spared.share,
        "before": spared.scores[()] if spared.scores else None,
        "after": spared.a_star,
        "sets": spared.evaluations,
        "chips": chips,
    }
    (_FOLDER / f"{name}.spared.json").write_text(json.dumps(outcome, indent=1) + "\n")
    print(name, spared, sep="\n", flush=True)


if __name__ == "__main__":
    main()

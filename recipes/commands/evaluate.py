"""``aimc-lightning evaluate``: programme chips with a trained checkpoint, let them age, measure."""

import argparse
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule
from rich.console import Console

from aimc_lightning.checkpoint import (
    analog_metadata,
    load_from_checkpoint,
    read_checkpoint,
    read_metadata,
)
from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.evaluation.calibration import calibrate_input_ranges, learned_tiles
from aimc_lightning.evaluation.callback import DriftEvaluation
from aimc_lightning.evaluation.sweep import checked_chips, evaluate_drift
from aimc_lightning.evaluation.variants import parse_variants
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.recipes.catalog import list_recipes, recipe_files
from aimc_lightning.recipes.changes import changed_arguments
from aimc_lightning.recipes.lightning_cli import AimcCLI
from aimc_lightning.recipes.recalibrate import add_recalibrate
from aimc_lightning.recipes.tiles import tiles_of
from aimc_lightning.same_conversion import check_same_conversion
from aimc_lightning.times import parse_time
from aimc_lightning.zoo.pretrained import from_pretrained

NAME = "evaluate"
HELP = "measure a checkpoint on programmed chips over time"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    _add_network(parser)
    parser.add_argument(
        "--times", nargs="+", metavar="TIME", help="after programming, such as 1s 1h 1d 1y"
    )
    parser.add_argument("--chips", type=int, metavar="N", help="number of chips")
    parser.add_argument("--seed", type=int, metavar="N", help="chooses the chips and their noise")
    parser.add_argument(
        "--digital", type=float, metavar="SCORE",
        help="score that counts as A* of 100 %% (default: that of the same weights, digitally)",
    )  # fmt: skip
    add_recalibrate(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True,
        help="folder for drift.csv, drift.json and drift.png; rows found there are kept, so the "
        "same command goes on after an interruption",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change a value of the YAML, for example trainer.limit_test_batches=2, or of a "
        "callback by its class, trainer.callbacks.AnalogTraining.config.adc.bits=6; repeatable",
    )  # fmt: skip
    parser.epilog = (
        "example: aimc-lightning evaluate --zoo resnet8_digits --ckpt_path "
        "runs/resnet8_digits/hwa/trained.ckpt --times 1s 1d --chips 5 --out drift. Times, chips, "
        "seed and digital score that are not given are those of DriftEvaluation in the YAML, or "
        "its defaults."
    )


def _add_network(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is measured."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--config", type=Path, metavar="YAML",
        help="file with trainer, model and data, as for 'aimc-lightning test'",
    )  # fmt: skip
    source.add_argument("--zoo", metavar="NAME", help="entry of the zoo: takes its drift.yaml")
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument(
        "--ckpt_path", type=Path, metavar="FILE",
        help="analog checkpoint, or a digital one, which is mapped directly",
    )  # fmt: skip
    network.add_argument(
        "--pretrained", metavar="NAME",
        help="what from_pretrained loads: an entry that ships a checkpoint, a folder, a hub id",
    )  # fmt: skip
    parser.add_argument(
        "--remap", action="store_true",
        help="map the weights of an analog checkpoint on the tiles of the YAML instead of those it "
        "was trained on, and seek their input ranges anew; no training",
    )  # fmt: skip


def execute(arguments: argparse.Namespace) -> None:
    """Measure what is missing, write the files and print the table."""
    cli = _cli(arguments)
    settings = _first(cli, DriftEvaluation) or DriftEvaluation()
    module = _network(cli.model, arguments)
    if analog_layers(module):
        module = _on_wanted_tiles(cli, module, remap=arguments.remap)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = evaluate_drift(
        cli.trainer,
        module,
        cli.datamodule,
        arguments.times or settings.times,
        arguments.chips or settings.chips,
        metric=settings.metric,
        chance=settings.chance,
        digital=settings.digital if arguments.digital is None else arguments.digital,
        **tiles_of(_first(cli, AnalogTraining) or AnalogTraining()),
        seed=settings.seed if arguments.seed is None else arguments.seed,
        csv_path=arguments.out / "drift.csv",
        recalibrate=arguments.recalibrate or settings.recalibrate,
        recalibration_batches=settings.recalibration_batches,
    )
    results.to_json(arguments.out / "drift.json")
    results.plot(arguments.out / "drift.png")
    console = Console()
    console.print(results)
    console.print(f"files: {arguments.out}")


def _cli(arguments: argparse.Namespace) -> AimcCLI:
    """Check the options, and build trainer, module and data module."""
    config = arguments.config if arguments.zoo is None else _zoo_config(arguments.zoo)
    if not config.is_file():
        raise FileNotFoundError(f"--config {str(config)!r} is not a file: check the path.")
    for time in arguments.times or ():
        parse_time(time)
    if arguments.chips is not None:
        checked_chips(arguments.chips)
    parse_variants(arguments.recalibrate, 1, True, [])
    content = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    return AimcCLI(
        ["--config", str(config), *changed_arguments(arguments.set, content)],
        run=False,
        save_config_callback=None,
        trainer_defaults={"devices": 1, "logger": False, "enable_checkpointing": False},
    )


def _network(module: LightningModule, arguments: argparse.Namespace) -> LightningModule:
    """Return the module with the weights that are to be measured, analog if these are."""
    path = arguments.ckpt_path
    if path is None:
        return _pretrained(module, arguments.pretrained)
    checkpoint = read_checkpoint(path)
    if read_metadata(checkpoint) is not None:
        return load_from_checkpoint(type(module), path)
    module.load_state_dict(checkpoint["state_dict"], strict=True)
    return module


def _pretrained(module: LightningModule, name: str) -> LightningModule:
    """Return what ``from_pretrained`` loads, if it is of the kind of a module."""
    loaded = from_pretrained(name)
    if not isinstance(loaded, type(module)):
        raise ValueError(
            f"--pretrained {name!r} is a {type(loaded).__name__}, the data and the metric are "
            f"those of a {type(module).__name__}: give the --zoo or --config of this network."
        )
    return loaded


def _on_wanted_tiles(cli: AimcCLI, module: LightningModule, *, remap: bool) -> LightningModule:
    """Return an analog network on the tiles that the YAML wants; raise if it is on others."""
    training = _first(cli, AnalogTraining)
    if training is None:
        if remap:
            raise ValueError(
                "--remap maps the weights on the tiles of AnalogTraining, which the YAML does not "
                "name: add it under trainer.callbacks."
            )
        return module
    if not remap:
        convert_to_analog(cli.model, **tiles_of(training))
        here, there = analog_metadata(cli.model), analog_metadata(module)
        check_same_conversion(here, there, training=False)
        return module
    convert_to_digital(module)
    Console().print(str(convert_to_analog(module, **tiles_of(training))), highlight=False)
    if learned_tiles(module):
        calibrate_input_ranges(cli.trainer, module, cli.datamodule)
    return module


def _zoo_config(name: str) -> Path:
    """Return the drift evaluation of a zoo entry."""
    if name not in list_recipes():
        raise ValueError(f"--zoo {name!r} is not one of {', '.join(list_recipes())}.")
    return recipe_files(name)["drift"]


def _first(cli: AimcCLI, kind: type) -> Any:  # noqa: ANN401 - an instance of kind
    """Return the first callback of a kind that the YAML names, if any."""
    return next((cb for cb in cli.trainer.callbacks if isinstance(cb, kind)), None)

"""``aimc-lightning run``: train, map directly, retrain for the hardware, and compare over time."""

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console

from aimc_lightning.recipes.recalibrate import add_recalibrate
from aimc_lightning.recipes.recipe import Recipe
from aimc_lightning.recipes.run_folder import RunFolder, finished_stages
from aimc_lightning.recipes.stages import RUN_STAGES, Experiment, check_order
from aimc_lightning.recipes.versions import collect_versions, describe_hardware

NAME = "run"
HELP = "run all stages of a recipe and print its table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("recipe", help="name of a recipe, see 'aimc-lightning list'")
    parser.add_argument(
        "--task", metavar="NAME",
        help="which of the recipe's tasks, if it trains one network for each",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of the data (default: from the hub)"
    )
    parser.add_argument(
        "--weights", metavar="FILE",
        help="safetensors file of trained digital weights to start from; 'none' trains them even "
        "where --data holds some (default: those, if there)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="folder of the run (default: runs/RECIPE, runs/RECIPE/TASK)",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="continue, or measure more chips")
    parser.add_argument(
        "--chips", type=int, metavar="N", help="chips to programme (default: the recipe's, 25)"
    )
    parser.add_argument(
        "--stages", nargs="+", choices=RUN_STAGES, default=list(RUN_STAGES),
        help="stages to do now; others keep their chips, or follow with --resume (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of all stages (default: the recipe's seeds)"
    )
    add_recalibrate(parser)
    parser.add_argument(
        "--set", action="append", default=[], metavar="STAGE.KEY=VALUE",
        help="change a value of the recipe, for example hwa.trainer.max_epochs=2, or of a callback "
        "by its class, hwa.trainer.callbacks.AnalogTraining.config.clip.sigma=2; repeatable",
    )  # fmt: skip
    parser.epilog = (
        "example: aimc-lightning run resnet8_digits --chips 5 --out runs/first. All three stages, "
        "digital training included, take some minutes on a CPU."
    )


def execute(arguments: argparse.Namespace) -> None:
    """Run the stages that are not done yet and print the table."""
    console = Console()
    recipe = _recipe(arguments, console)
    path = arguments.out or Path("runs", recipe.name, recipe.task or "")
    recipe.check_settings(path)
    check_order(arguments.stages, finished_stages(path))
    folder = RunFolder.open(
        path, recipe.identity(), resume=arguments.resume, stages=arguments.stages
    )
    versions = collect_versions()
    for change in folder.changed_versions(versions):
        console.print(f"note: since this run began, {change}", style="yellow")
    command = ["aimc-lightning", *sys.argv[1:]]
    if not folder.finished:
        folder.start_session(versions, describe_hardware(), command)
    experiment = Experiment(recipe, folder, console)
    try:
        for stage in RUN_STAGES:
            if stage in arguments.stages and stage not in folder.stages:
                experiment.run(stage)
    except (KeyboardInterrupt, SystemExit) as interrupt:
        # Lightning turns Ctrl-C into SystemExit after it has cleaned up.
        again = command if arguments.resume else [*command, "--resume"]
        console.print(f"\ninterrupted; to continue: {shlex.join(again)}", style="yellow")
        raise SystemExit(130) from interrupt
    if set(RUN_STAGES) <= set(folder.stages):
        folder.finish()
    experiment.report()


def _recipe(arguments: argparse.Namespace, console: Console) -> Recipe:
    """Return the recipe with the user's options, and given weights if the data folder has some."""
    recipe = Recipe(
        arguments.recipe,
        data_dir=arguments.data,
        weights=_given(arguments.weights),
        chips=arguments.chips,
        seed=arguments.seed,
        settings=tuple(arguments.set),
        task=arguments.task,
        recalibrate=tuple(arguments.recalibrate or ()),
    )
    if recipe.entry.tasks and recipe.task is None:
        raise ValueError(
            f"recipe {recipe.name!r} trains one network for each task: name one with --task, of "
            f"{', '.join(recipe.entry.tasks)}."
        )
    given = recipe.entry.given_weights
    if arguments.weights is not None or recipe.data_dir is None or given is None:
        return recipe
    found = recipe.data_dir / given
    if not found.is_file():
        return recipe
    console.print(f"digital weights found: {found} (--weights none trains them instead)")
    return recipe.starting_from(found)


def _given(weights: str | None) -> Path | None:
    """Return the weights file that was asked for."""
    return None if weights is None or weights.lower() == "none" else Path(weights)

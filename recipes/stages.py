"""The stages of a run: train digitally, map directly, retrain for the hardware, measure chips."""

import json
import time
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.console import Console
from safetensors.torch import save_file

from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.evaluation.callback import DriftEvaluation
from aimc_lightning.evaluation.harness import quiet_callbacks
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import RowFile
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.recipes.exact_resume import ExactResume
from aimc_lightning.recipes.lightning_cli import AimcCLI
from aimc_lightning.recipes.recipe import Recipe
from aimc_lightning.recipes.run_folder import RunFolder, write_atomically
from aimc_lightning.recipes.table import drift_table
from aimc_lightning.recipes.tiles import callback_of, tiles_of
from aimc_lightning.recipes.versions import describe_hardware

RUN_STAGES = ("digital", "direct", "hwa")
SAVE_EVERY = timedelta(minutes=10)  # in an epoch; what a stop loses at most
_WEIGHTS = "digital/weights.safetensors"
TRAINED = "hwa/trained.ckpt"


def check_order(wanted: Collection[str], done: Collection[str]) -> None:
    """Raise ``ValueError`` if a wanted stage builds on one that is neither done nor wanted.

    Args:
        wanted: Stages to do now.
        done: Stages done already.
    """
    later = [stage for stage in RUN_STAGES[1:] if stage in wanted]
    if later and "digital" not in {*wanted, *done}:
        raise ValueError(f"stage {later[0]!r} builds on 'digital', which is not done: add it.")


class Experiment:
    """One recipe in one folder; each stage leaves its result there before it counts as done."""

    def __init__(self, recipe: Recipe, folder: RunFolder, console: Console) -> None:
        self.recipe, self.folder, self.console = recipe, folder, console

    def run(self, stage: str) -> None:
        """Do one stage.

        Args:
            stage: One of ``digital``, ``direct`` and ``hwa``.
        """
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "digital": self._digital,
            "direct": self._direct,
            "hwa": self._hwa,
        }
        begin = time.monotonic()
        try:
            result = steps[stage]()
        finally:  # a stage that is stopped goes on in another session
            self.folder.add_seconds(stage, time.monotonic() - begin)
        self.folder.finish_stage(stage, result)

    def _digital(self) -> dict[str, Any]:
        """Train the digital network, or take weights as they are, and score it on the test set."""
        given = self.recipe.weights
        arguments = [] if given is None else ["--model.init_args.weights", str(given)]
        cli = self._build("digital", *arguments)
        trains = given is None and cli.trainer.max_epochs != 0
        if trains:
            self._say(f"digital: training for {cli.trainer.max_epochs} epochs")
            self._fit(cli, "digital")
        else:
            self._say(
                f"digital: {'weights of the recipe' if given is None else given}, as they are"
            )
        target = self.folder.path / _WEIGHTS
        target.parent.mkdir(exist_ok=True)
        part = target.with_suffix(".part")
        save_file({k: v.contiguous() for k, v in cli.model.network.state_dict().items()}, part)
        part.replace(target)
        scores = self._digital_scores()
        score = scores.pop(self.recipe.entry.metric)
        others = "".join(f", {name} {value:.4f}" for name, value in scores.items())
        self._say(f"digital: {self.recipe.entry.metric} {score:.4f}{others}")
        return {"score": score, "other_scores": scores, "trained": trains}

    def _digital_scores(self) -> dict[str, float]:
        """Return the test scores in the precision of the chips, which are compared with them."""
        cli = self._build_drift()
        with quiet_callbacks(cli.trainer):
            return _test(cli.trainer, cli, self.recipe.entry.metric)

    def _direct(self) -> dict[str, Any]:
        """Map the digital network on chips as it is, and measure them."""
        cli = self._build_drift()
        return self._measure("direct", cli, cli.model)

    def _hwa(self) -> dict[str, Any]:
        """Retrain the digital network for the hardware, and measure it on chips."""
        trained = self.folder.path / TRAINED
        weights = str(self.folder.path / _WEIGHTS)
        cli = self._build("hwa", "--model.init_args.weights", weights)
        if not trained.is_file():
            self._say(f"hwa: training for {cli.trainer.max_epochs} epochs")
            self._fit(cli, "hwa")
            cli.trainer.save_checkpoint(trained)
        module = load_from_checkpoint(type(cli.model), trained)
        return self._measure("hwa", self._build_drift(), module)

    def _measure(self, stage: str, cli: AimcCLI, module: LightningModule) -> dict[str, Any]:
        """Programme chips, age and measure them; each row goes to ``drift.csv`` at once."""
        settings = callback_of(cli, DriftEvaluation)
        chips = settings.chips if self.recipe.chips is None else self.recipe.chips
        self._say(f"{stage}: measuring {chips} chips at {len(settings.times)} times")
        results = evaluate_drift(
            cli.trainer,
            module,
            cli.datamodule,
            settings.times,
            chips,
            metric=self.recipe.entry.metric,
            chance=self.recipe.entry.chance,
            digital=self.folder.stages["digital"]["score"],
            **tiles_of(callback_of(cli, AnalogTraining)),
            seed=settings.seed if self.recipe.seed is None else self.recipe.seed,
            csv_path=self.folder.path / "drift.csv",
            recalibrate=self.recipe.recalibrate or settings.recalibrate,
            recalibration_batches=settings.recalibration_batches,
        )
        last = [entry for entry in results.summary() if entry.stage == stage][-1]
        return {"chips": chips, "score_at_last_time": last.mean}

    def report(self) -> None:
        """Write ``drift.json`` and ``drift.png`` from ``drift.csv``, and print the table."""
        rows = RowFile(self.folder.path / "drift.csv").rows
        if not rows:
            return
        entry = self.recipe.entry
        digital = self.folder.stages["digital"]["score"]
        results = DriftResults(rows, entry.metric, digital, entry.chance)
        write_atomically(
            self.folder.path / "drift.json", json.dumps(results.to_dict(), indent=2) + "\n"
        )
        part = self.folder.path / "drift.part.png"
        results.plot(part)
        part.replace(self.folder.path / "drift.png")
        self.console.print(drift_table(self.recipe.name, results))
        times = [f"{name} {stage['seconds']:.0f} s" for name, stage in self.folder.stages.items()]
        self._say(f"time: {', '.join(times)}; on {describe_hardware()}")
        self._say(f"files: {self.folder.path}")

    def _build_drift(self) -> AimcCLI:
        """Build the parts of the drift evaluation, around the digital network."""
        weights = str(self.folder.path / _WEIGHTS)
        cli = self.recipe.build(
            "drift",
            self.folder.path,
            "--model.init_args.weights",
            weights,
            logger=False,
            enable_checkpointing=False,
        )
        cli.save_config(self.folder.path / "drift.yaml")
        return cli

    def _build(self, stage: str, *arguments: str) -> AimcCLI:
        """Build a training stage that logs to and saves in its own folder."""
        folder = self.folder.path / stage
        checkpoints = [
            ModelCheckpoint(folder, "last", enable_version_counter=False, **when)
            for when in ({"save_on_train_epoch_end": True}, {"train_time_interval": SAVE_EVERY})
        ]
        # The callback of the hardware-aware stage does this itself.
        resume = [ExactResume()] if stage == "digital" else []
        logger = {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(folder), "name": "log"},  # one version a session
        }
        cli = self.recipe.build(
            stage, self.folder.path, *arguments, callbacks=[*checkpoints, *resume], logger=logger
        )
        folder.mkdir(exist_ok=True)
        cli.save_config(folder / "config.yaml")
        return cli

    def _fit(self, cli: AimcCLI, stage: str) -> None:
        """Train, from the last checkpoint if there is one."""
        last = self.folder.path / stage / "last.ckpt"
        if last.is_file():
            self._say(f"{stage}: continuing from {last}")
        cli.trainer.fit(
            cli.model, cli.datamodule, ckpt_path=last if last.is_file() else None, weights_only=True
        )

    def _say(self, text: str) -> None:
        self.console.print(text, style="bold", highlight=False)


def _test(trainer: Trainer, cli: AimcCLI, metric: str) -> dict[str, float]:
    """Return all scores of the test set; raise if the one that counts is not among them."""
    scores = trainer.test(cli.model, cli.datamodule, verbose=False)[0]
    if metric not in scores:
        raise ValueError(
            f"the module logs no {metric!r} in test_step; choose from {', '.join(sorted(scores))}."
        )
    return dict(scores)

"""One recipe with a user's options: the identity of its run, and the parts of each stage."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from aimc_lightning.evaluation.variants import parse_variants
from aimc_lightning.recipes.catalog import STAGES, recipe_files
from aimc_lightning.recipes.changes import changed_arguments
from aimc_lightning.recipes.lightning_cli import AimcCLI
from aimc_lightning.recipes.tiles import check_same_tiles
from aimc_lightning.zoo.registry import ModelEntry, get_entry


@dataclass(frozen=True)
class Recipe:
    """A recipe and what the user wants different about it.

    Attributes:
        name: Name of the recipe, which is also the name of its zoo entry.
        data_dir: Folder of the data; None if it comes from elsewhere.
        weights: Trained digital weights to start from; None trains the digital network.
        chips: Chips to programme; None takes the recipe's number.
        seed: Seed of all stages; None takes the recipe's seeds.
        settings: Changes of single values, each ``STAGE.KEY=VALUE``; a callback goes by the name of
            its class, ``hwa.trainer.callbacks.AnalogTraining.config.clip.sigma=2``.
        task: Which of the entry's tasks, for an entry that trains one network for each; None takes
            the recipe's.
        recalibrate: What is done without training, in further stages of the table, see
            :data:`~aimc_lightning.evaluation.variants.METHODS`; none takes the recipe's.
    """

    name: str
    data_dir: Path | None = None
    weights: Path | None = None
    chips: int | None = None
    seed: int | None = None
    settings: tuple[str, ...] = field(default=())
    task: str | None = None
    recalibrate: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check all that can be wrong before anything is written."""
        recipe_files(self.name)
        get_entry(self.name, self.task)
        parse_variants(self.recalibrate, 1, True, [])
        if self.chips is not None and self.chips < 1:
            raise ValueError(f"--chips must be at least 1, got {self.chips}.")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be between 0 and 2**32 - 1, got {self.seed}.")
        if self.data_dir is not None:
            if "data_dir" not in self._data_arguments("digital"):
                raise ValueError(f"recipe {self.name!r} brings its own data: leave --data out.")
            if not self.data_dir.is_dir():
                raise FileNotFoundError(
                    f"--data {str(self.data_dir)!r} is not a folder: check the path."
                )
        if self.weights is not None and not self.weights.is_file():
            raise FileNotFoundError(
                f"--weights {str(self.weights)!r} is not a file: check the path."
            )
        for setting in self.settings:
            stage, dot, rest = setting.partition(".")
            if stage not in STAGES or not dot or "=" not in rest:
                raise ValueError(
                    f"--set {setting!r} is not of the form STAGE.KEY=VALUE, for example "
                    f"hwa.trainer.max_epochs=2; the stages are {', '.join(STAGES)}."
                )

    @property
    def entry(self) -> ModelEntry:
        """The zoo entry of the same name, with the chance of the task."""
        return get_entry(self.name, self.task)

    def starting_from(self, weights: Path) -> "Recipe":
        """Return the same recipe with given digital weights."""
        return replace(self, weights=weights)

    def identity(self) -> dict[str, Any]:
        """Return what tells this run from others, for :class:`RunFolder`."""
        contents = [
            yaml.safe_load(path.read_text(encoding="utf-8"))  # so that comments do not matter
            for path in recipe_files(self.name).values()
        ]
        return {
            "recipe": self.name,
            "recipe files": hashlib.sha256(repr(contents).encode()).hexdigest()[:16],
            "seed": self.seed,
            "chips": self.chips,
            "data": None if self.data_dir is None else str(self.data_dir.resolve()),
            "weights": None if self.weights is None else _file_hash(self.weights),
            "settings": sorted(self.settings),
            # None, so that runs from before these options are the same.
            "recalibrate": list(self.recalibrate) or None,
            "task": self.task,
        }

    def check_settings(self, folder: Path) -> None:
        """Raise, or leave with the parser's message, if a changed setting is wrong.

        Args:
            folder: Folder of the run; nothing is written.
        """
        # Given weights stand in for pretrained ones, which may not be at hand.
        given = [] if self.weights is None else ["--model.init_args.weights", str(self.weights)]
        stages = {setting.partition(".")[0] for setting in self.settings}
        tiles = any(".AnalogTraining." in setting for setting in self.settings)
        stages |= {"hwa", "drift"} if tiles else set()
        built = {
            stage: self.build(stage, folder, *(given if stage == "digital" else ()))
            for stage in sorted(stages)
        }
        if tiles:
            check_same_tiles(built["hwa"], built["drift"])

    def build(self, stage: str, folder: Path, *arguments: str, **defaults: Any) -> AimcCLI:  # noqa: ANN401
        """Build trainer, module and data module of one stage.

        Args:
            stage: ``digital``, ``hwa`` or ``drift``.
            folder: Folder of the run; decoded data are cached in it.
            *arguments: Further arguments of LightningCLI.
            **defaults: Trainer arguments that hold unless the recipe sets them; callbacks are
                added to the recipe's. One device, unless the recipe has more.

        Returns:
            The built parts, as attributes ``trainer``, ``model`` and ``datamodule``.

        Raises:
            ValueError: If the strategy would start the command again for each of its devices.
        """
        args = ["--config", str(recipe_files(self.name)[stage])]
        known = self._data_arguments(stage)
        if self.data_dir is not None:
            args += ["--data.init_args.data_dir", str(self.data_dir)]
        if "cache_dir" in known:
            args += ["--data.init_args.cache_dir", str(folder / "data")]
        if self.seed is not None:
            args += ["--seed_everything", str(self.seed)]
            if "seed" in known:
                args += ["--data.init_args.seed", str(self.seed)]
        if self.task is not None:
            args += ["--model.init_args.task", self.task, "--data.init_args.task", self.task]
        args += changed_arguments(self.settings, self._content(stage), f"{stage}.")
        args += ["--trainer.default_root_dir", str(folder / stage), *arguments]
        # Not all devices of the machine: the batch, and with it the result, would depend on them.
        defaults = {"devices": 1, **defaults}
        cli = AimcCLI(args, run=False, save_config_callback=None, trainer_defaults=defaults)
        if isinstance(cli.trainer.strategy.launcher, _SubprocessScriptLauncher):
            raise ValueError(
                f"{type(cli.trainer.strategy).__name__} with {cli.trainer.num_devices} devices "
                "starts this command again for each, and all would write to one folder: add "
                f"--set {stage}.trainer.strategy=aimc_ddp_spawn, or take one device."
            )
        return cli

    def _data_arguments(self, stage: str) -> dict[str, Any]:
        """Return the data module's arguments in the recipe; what it names can be overridden."""
        return self._content(stage)["data"].get("init_args", {})

    def _content(self, stage: str) -> dict[str, Any]:
        return yaml.safe_load(recipe_files(self.name)[stage].read_text(encoding="utf-8"))


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

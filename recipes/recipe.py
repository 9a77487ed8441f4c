"""One recipe with a user's options: the identity of its run, and the parts of each stage."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from aimc_lightning.config import TileConfig
from aimc_lightning.evaluation.variants import parse_variants
from aimc_lightning.recipes.catalog import STAGES, recipe_files
from aimc_lightning.recipes.lightning_cli import AimcCLI
from aimc_lightning.zoo.registry import ModelEntry, get_entry

_CALLBACKS = "trainer.callbacks"


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
        for stage in sorted({setting.partition(".")[0] for setting in self.settings}):
            self.build(stage, folder, *(given if stage == "digital" else ()))

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
        args += self._changes(stage)
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

    def _changes(self, stage: str) -> list[str]:
        """Return the user's changes of one stage as arguments of LightningCLI."""
        args, begin = [], f"{stage}.{_CALLBACKS}."
        callbacks = self._content(stage)["trainer"].get("callbacks") or []
        changed = False
        for setting in self.settings:
            key, _, value = setting.partition("=")
            if key.startswith(begin):
                _change_callback(callbacks, key[len(begin) :], value, setting)
                changed = True
            elif key.startswith(f"{stage}."):
                args.append(f"--{key[len(stage) + 1 :]}={value}")
        # The whole list, since arguments cannot reach into one.
        return [*args, f"--{_CALLBACKS}={json.dumps(callbacks)}"] if changed else args

    def _data_arguments(self, stage: str) -> dict[str, Any]:
        """Return the data module's arguments in the recipe; what it names can be overridden."""
        return self._content(stage)["data"].get("init_args", {})

    def _content(self, stage: str) -> dict[str, Any]:
        return yaml.safe_load(recipe_files(self.name)[stage].read_text(encoding="utf-8"))


def _change_callback(callbacks: list[dict[str, Any]], path: str, value: str, setting: str) -> None:
    """Set one value of a callback in place.

    Args:
        callbacks: The recipe's, as in its file.
        path: ``CLASS.KEY``, where keys below the first are joined by dots, too.
        value: New value, as JSON or YAML.
        setting: The whole of it, for messages.
    """
    name, *keys = path.split(".")
    found = [one for one in callbacks if one["class_path"].rpartition(".")[2] == name]
    if len(found) != 1 or not all(keys) or not keys:
        known = ", ".join(one["class_path"].rpartition(".")[2] for one in callbacks) or "none"
        raise ValueError(
            f"--set {setting!r} is not of the form STAGE.{_CALLBACKS}.CLASS.KEY=VALUE with the "
            f"class of one callback of the recipe; it has {known}."
        )
    place = found[0].setdefault("init_args", {})
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise ValueError(f"--set {setting!r}: {key!r} holds {place!r}, which has no keys.")
    place[keys[-1]] = _parsed(value)
    config = found[0]["init_args"].get("config")
    if isinstance(config, dict):
        try:  # the parser finds the same faults, but buries them in the whole list
            TileConfig.from_dict({part: config[part] for part in config if part != "chip"})
        except (TypeError, ValueError) as error:
            raise ValueError(f"--set {setting!r} gives tiles that cannot be: {error}") from error


def _parsed(value: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(value)  # knows 1e-4 as a number, YAML 1.1 does not
    except ValueError:
        return yaml.safe_load(value)


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

"""From a finished run to a checkpoint folder: weights, scores and the recipe as it was run."""

from pathlib import Path
from typing import Any

import yaml

from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import RowFile
from aimc_lightning.hub.config_file import Origin
from aimc_lightning.hub.folder import save_pretrained
from aimc_lightning.recipes.run_folder import RunFolder
from aimc_lightning.recipes.stages import TRAINED
from aimc_lightning.zoo.pretrained import register_entries
from aimc_lightning.zoo.registry import ModelEntry, get_entry

_CONFIGS = {"digital": "digital/config.yaml", "hwa": "hwa/config.yaml", "drift": "drift.yaml"}


def export_run(run: Path, out: Path, *, half: bool = False) -> Path:
    """Write the retrained network of a run as a checkpoint folder.

    Args:
        run: Folder of a run with the stage ``hwa`` done.
        out: Folder of the checkpoint, as for ``save_pretrained``.
        half: Whether to store matrices in half precision.

    Returns:
        The folder of the checkpoint.

    Raises:
        FileNotFoundError: If ``run`` is not a run, or a file of it is gone.
        ValueError: If the stage ``hwa`` is not done.
    """
    folder = RunFolder.read(run)
    if "hwa" not in folder.stages:
        raise ValueError(
            f"the run in {str(run)!r} has done {', '.join(folder.stages) or 'nothing'} so far; "
            "'hwa' is what is exported: finish it with 'aimc-lightning run ... --resume'."
        )
    entry = get_entry(folder.identity["recipe"], folder.identity.get("task"))
    configs = {stage: _configuration(run / path) for stage, path in _CONFIGS.items()}
    module = load_from_checkpoint(type(entry.build()), run / TRAINED)
    digital = folder.stages["digital"]["score"]
    results = DriftResults(RowFile(run / "drift.csv").rows, entry.metric, digital, entry.chance)
    register_entries()
    origin = _origin(entry, folder, configs)
    return save_pretrained(
        module, out, architecture=entry.name, origin=origin, results=results, half=half
    )


def _origin(entry: ModelEntry, folder: RunFolder, configs: dict[str, Any]) -> Origin:
    recipe = {"recipe": entry.name, **{stage: _portable(c) for stage, c in configs.items()}}
    return Origin(
        recipe=entry.name,
        recipe_text=yaml.safe_dump(recipe, sort_keys=False),
        command=folder.command,
        seed=configs["hwa"].get("seed_everything"),
        git_revision=folder.versions.get("git"),
        task=entry.task,
        data=entry.data,
        data_licence=entry.licence,
    )


def _configuration(path: Path) -> dict[str, Any]:
    """Return the complete configuration of a stage, as the run saved it."""
    if not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} is gone: the recipe of the run is not known.")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _portable(value: Any) -> Any:  # noqa: ANN401 - plain data
    """Return a configuration with the last part of absolute paths only."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return f".../{Path(value).name}"
    return value

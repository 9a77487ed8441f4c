"""All that a report shows of one run, read from its folder; what is missing is noted, not fatal."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import nn

from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.config import TileConfig
from aimc_lightning.evaluation.layers.results import LayerResults
from aimc_lightning.evaluation.layers.weights import LayerWeights, layer_weights
from aimc_lightning.evaluation.mapping.energy import Constants
from aimc_lightning.evaluation.mapping.report import MappingReport, mapping_report
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import RowFile
from aimc_lightning.evaluation.tolerances import SensitivityResults
from aimc_lightning.nn.base import analog_arrays, analog_layers
from aimc_lightning.recipes.mapped import first_samples, mapped_model, recipe_of
from aimc_lightning.recipes.run_folder import RunFolder
from aimc_lightning.recipes.stages import RUN_STAGES
from aimc_lightning.zoo.registry import get_entry

_UNREADABLE = (ValueError, OSError, ImportError, RuntimeError)


@dataclass
class RunData:
    """One run as far as it got, or results of a script.

    Attributes:
        label: Name in the report; unique among the runs of one report.
        network: Name of the network: the recipe, or the module's class.
        sessions: When, where, by which command and with which versions it was worked on.
        identity: What makes this run different from others; empty for results of a script.
        stages: Results of the finished stages, with their time; empty likewise.
        results: Drift measurements, with digital score and chance; None before the first row.
        mapping: Tiles and counts; None if the network could not be built.
        weights: Normalised weights per layer, by stage (``digital``, ``hwa``).
        configs: Settings of the tiles, each once.
        sensitivity: Tolerated amounts; None if they were not measured.
        layers: Errors of single layers; None if they were not measured.
        notes: What could not be shown, and why.
    """

    label: str
    network: str
    sessions: list[dict[str, Any]] = field(default_factory=list)
    identity: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: DriftResults | None = None
    mapping: MappingReport | None = None
    weights: dict[str, list[LayerWeights]] = field(default_factory=dict)
    configs: list[TileConfig] = field(default_factory=list)
    sensitivity: SensitivityResults | None = None
    layers: LayerResults | None = None
    notes: list[str] = field(default_factory=list)


def read_runs(paths: list[Path], constants: list[Constants]) -> list[RunData]:
    """Read runs for a report; all folders are checked before the first is read.

    Args:
        paths: Folders of runs.
        constants: Chips for the coarse estimate of energy and time.

    Raises:
        FileNotFoundError: If a folder holds no run.
        ValueError: If a folder is given twice, or its manifest or rows are damaged.
    """
    folders = [RunFolder.read(path) for path in paths]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(
            "a run is given twice: name each folder once, 'aimc-lightning report RUN [RUN ...]'."
        )
    names = [path.resolve().name for path in paths]
    unique = len(set(names)) == len(names)
    labels = names if unique else [str(path) for path in paths]
    return [_read(label, f, constants) for label, f in zip(labels, folders, strict=True)]


def _read(label: str, folder: RunFolder, constants: list[Constants]) -> RunData:
    run = RunData(label, folder.identity["recipe"], folder.sessions, folder.identity, folder.stages)
    unfinished = [stage for stage in RUN_STAGES if stage not in folder.stages]
    if unfinished:
        run.notes.append(
            f"The run is unfinished: {', '.join(unfinished)} not done. "
            "Go on with the command under 'How to reproduce' and --resume."
        )
    _read_results(run, folder)
    _read_network(run, folder, constants)
    _read_studies(run, folder)
    return run


def _read_studies(run: RunData, folder: RunFolder) -> None:
    """Read what the commands ``sensitivity`` and ``layers`` left in the folder."""
    path = folder.path / "sensitivity.csv"
    if path.is_file():
        try:
            run.sensitivity = SensitivityResults.from_csv(path)
        except ValueError as error:
            run.notes.append(f"Tolerated amounts are not shown: {error}")
    path = folder.path / "layers.csv"
    if path.is_file():
        try:
            run.layers = LayerResults.from_csv(path)
        except ValueError as error:
            run.notes.append(f"Products of single layers are not shown: {error}")


def _read_results(run: RunData, folder: RunFolder) -> None:
    rows = RowFile(folder.path / "drift.csv").rows
    rows = [row for row in rows if row.stage != "digital"]
    if not rows:
        run.notes.append("No chip was measured yet: there is no drift curve.")
        return
    digital = folder.stages.get("digital", {}).get("score")
    try:
        chance = get_entry(run.identity["recipe"], run.identity.get("task")).chance
        run.results = DriftResults(rows, rows[0].metric, digital, chance)
    except ValueError as error:
        run.notes.append(f"No normalised accuracy: {error}")
        run.results = DriftResults(rows, rows[0].metric, digital)


def _read_network(run: RunData, folder: RunFolder, constants: list[Constants]) -> None:
    """Build the network with its digital weights and again as retrained."""
    digital = folder.path / "digital/weights.safetensors"
    try:
        recipe = recipe_of(folder)
        model, data = mapped_model(recipe, folder.path, digital if digital.is_file() else None)
    except _UNREADABLE as error:
        run.notes.append(f"No layers, weights and settings: {error}")
        return
    if digital.is_file():
        run.weights["digital"] = layer_weights(model)
    trained = _retrained(run, folder, type(model))
    if trained is not None:
        run.weights["hwa"] = layer_weights(trained)
    run.configs = tile_configs(model if trained is None else trained)
    try:
        batch = first_samples(data)
    except _UNREADABLE as error:
        run.notes.append(f"Products per sample are not counted, there are no data: {error}")
        run.mapping = mapping_report(model)
        return
    run.mapping = mapping_report(
        model, batch, constants=constants, forward=lambda x: model.predict_step(x, 0)
    )


def _retrained(
    run: RunData, folder: RunFolder, kind: type[LightningModule]
) -> LightningModule | None:
    path = folder.path / "hwa/trained.ckpt"
    if not path.is_file():
        return None
    try:
        return load_from_checkpoint(kind, path)
    except _UNREADABLE as error:
        run.notes.append(f"No retrained weights: {error}")
        return None


def tile_configs(model: nn.Module) -> list[TileConfig]:
    """Return the settings of a model's tiles, each once, in the order of the model."""
    found: list[TileConfig] = []
    for layer in analog_layers(model).values():
        for array, _ in analog_arrays(layer).values():
            if array.config not in found:
                found.append(array.config)
    return found

"""Write the page from a script: results of any network, also one that no recipe has."""

import shlex
import sys
from pathlib import Path
from typing import Any

from torch import nn

from aimc_lightning.evaluation.layers.results import LayerResults
from aimc_lightning.evaluation.layers.weights import layer_weights
from aimc_lightning.evaluation.mapping.report import mapping_report
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.tolerances import SensitivityResults
from aimc_lightning.recipes.html_report.page import render_page
from aimc_lightning.recipes.html_report.run_data import RunData, tile_configs
from aimc_lightning.recipes.run_folder import session_record, write_atomically
from aimc_lightning.recipes.versions import collect_versions, describe_hardware


def write_report(
    path: str | Path,
    results: DriftResults,
    model: nn.Module,
    sample_input: Any = None,  # noqa: ANN401 - whatever the model takes
    *,
    sensitivity: SensitivityResults | None = None,
    layers: LayerResults | None = None,
) -> Path:
    """Write one HTML page on a network, as ``aimc-lightning report`` does on runs of recipes.

    Args:
        path: Page to write; replaced if it exists.
        results: What :func:`~aimc_lightning.evaluation.sweep.evaluate_drift` returned.
        model: The network on tiles, retrained or not; its weights, tiles and settings are shown.
        sample_input: A batch, as the model takes it, for the counts per sample; None leaves them
            out.
        sensitivity: What :func:`~aimc_lightning.evaluation.sensitivity.sensitivity` returned.
        layers: What :func:`~aimc_lightning.evaluation.layers.report.layer_report` returned.

    Returns:
        The page, which opens in any browser without a network.

    Raises:
        FileNotFoundError: If the folder of ``path`` is missing.
        ValueError: If the model has no analog layer.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {str(path)!r}, its folder {str(path.parent)!r} is missing: make it "
            "first."
        )
    name = type(model).__name__
    command = shlex.join(["python", *sys.argv])
    session = session_record(collect_versions(), describe_hardware(), command)
    run = RunData(
        path.stem, name, [session],
        results=results,
        mapping=mapping_report(model, sample_input),
        weights={"network": layer_weights(model)},
        configs=tile_configs(model),
        sensitivity=sensitivity,
        layers=layers,
    )  # fmt: skip
    write_atomically(path, render_page([run], f"{name} on analog hardware"))
    return path

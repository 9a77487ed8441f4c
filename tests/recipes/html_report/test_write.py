import pytest
import torch
from torch import nn

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow
from aimc_lightning.evaluation.tolerances import SensitivityResults, Tolerance
from aimc_lightning.recipes.html_report.write import write_report

ROWS = [DriftRow("direct", chip, 3600.0, "acc", 0.8 + chip / 100, 0, "") for chip in (0, 1)]


class TwoLayers(nn.Sequential):
    """A network that no recipe has."""


@pytest.fixture
def model():
    model = TwoLayers(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    convert_to_analog(model)
    return model


def test_page_of_a_network_outside_the_zoo(model, tmp_path):
    tolerance = Tolerance("adc_bits", "signal", "iso_accuracy", 9.0, 7.0, 6.0, 6.5, 0.1)
    page = write_report(
        tmp_path / "mine.html",
        DriftResults(ROWS, "acc", digital=0.9, chance=1 / 3),
        model,
        torch.zeros(5, 4),
        sensitivity=SensitivityResults([tolerance], 3600.0, 2, [], 0),
    )
    text = page.read_text()
    for part in ("TwoLayers", "Not iso-accurate", "adc_bits", "2 tiles", "CPU cores", "pytest"):
        assert part in text, part
    assert text.count("<figure>") == 4  # drift, sensitivity, conductances, tile map


def test_missing_folder_is_refused(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="make it first"):
        write_report(tmp_path / "no/page.html", DriftResults(ROWS, "acc"), model)

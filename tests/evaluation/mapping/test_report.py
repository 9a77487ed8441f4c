import csv
import io

import pytest
import torch
from rich.console import Console
from torch import nn

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.mapping.report import HEADER, mapping_report


def _model():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 10))
    convert_to_analog(model)
    return model


def test_layers_add_up_to_the_parameters_of_the_model():
    model = _model()
    report = mapping_report(model, torch.zeros(2, 3, 4, 4))
    ranges_and_scales = sum(p.numel() for n, p in model.named_parameters() if ".analog." in n)
    everything = sum(p.numel() for p in model.parameters()) - ranges_and_scales
    assert report.total("weights") == 3 * 8 * 9 + 320
    assert report.total("weights") + report.total("digital_weights") == everything
    assert report.total("devices") == 2 * report.total("weights")
    assert [layer.tiles for layer in report.layers] == [1, 0, 1]


def test_counts_do_not_depend_on_the_batch_size():
    one, four = (mapping_report(_model(), torch.zeros(n, 3, 4, 4)) for n in (1, 4))
    assert one.layers == four.layers
    assert (one.samples, four.samples) == (1, 4)
    assert one.total("mvms") == 4 + 1
    assert one.total("dac_conversions") == 4 * 27 + 32


def test_only_the_layout_is_known_without_a_sample():
    report = mapping_report(_model())
    assert report.estimates == ()
    assert report.total("mvms") is None
    assert report.tiles == 2
    assert "-" in report.cells()[0]


def test_text_table_and_csv_hold_the_same_layers(tmp_path):
    report = mapping_report(_model(), torch.zeros(1, 3, 4, 4), constants=["hermes_core_2022"])
    report.to_csv(tmp_path / "mapping.csv")
    with (tmp_path / "mapping.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(HEADER)
    assert [row["layer"] for row in rows] == ["0", "1", "3"]
    assert float(rows[0]["ADC conversions"]) == 32.0
    assert "coarse" in str(report)
    assert "Khaddam-Aljameh" in str(report)
    console = Console(width=200, file=io.StringIO())
    console.print(report)
    assert "all layers" in console.file.getvalue()


def test_digital_models_and_empty_batches_are_refused():
    with pytest.raises(ValueError, match="no analog layer; call convert_to_analog"):
        mapping_report(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="holds 0 samples"):
        mapping_report(_model(), torch.zeros(0, 3, 4, 4))
    with pytest.raises(ValueError, match="unknown constants 'nope'"):
        mapping_report(_model(), torch.zeros(1, 3, 4, 4), constants=["nope"])

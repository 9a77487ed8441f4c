import copy
import io
import math
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch import nn

from aimc_lightning import layer_report
from aimc_lightning.checkpoint import state_fingerprint
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation import measure
from aimc_lightning.evaluation.layers.groups import layer_groups
from aimc_lightning.evaluation.layers.results import LayerResults
from aimc_lightning.evaluation.layers.weights import layer_weights
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.nn.base import is_programmed
from tests.helpers.toy import LIGHTNING_ADVICE, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


@pytest.fixture(scope="module")
def digital():
    module = toy(hidden=16)
    trainer(epochs=8).fit(module, ToyData(samples=150))
    return module


@pytest.fixture(scope="module")
def analog(digital):
    module = copy.deepcopy(digital)
    with torch.no_grad():
        module.net[0].weight[0, 0] += 1.0  # as if retrained
    convert_to_analog(module)
    return module


def _report(module, run=None, **settings):
    options = {"metric": "test_acc", "chance": 1 / 3, "progress": False, **settings}
    return layer_report(run or trainer(), module, ToyData(samples=150), "1d", 3, **options)


@pytest.fixture(scope="module")
def results(analog, digital, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    return _report(analog, before=digital, csv_path=path)


def test_loss_is_that_of_a_network_with_only_this_layer_converted(results, digital, analog):
    alone = copy.deepcopy(digital)
    alone.load_state_dict({k: v for k, v in analog.state_dict().items() if ".analog." not in k})
    convert_to_analog(alone, exclude=["net.2"])
    with torch.no_grad():
        tile, trained = alone.net[0].analog.tiles[0], analog.net[0].analog.tiles[0]
        tile.input_range.copy_(trained.input_range)
    # The first layer has the same chip in both networks.
    expected = evaluate_drift(
        trainer(), alone, ToyData(samples=150), ("1d",), 3, metric="test_acc", chance=1 / 3,
        progress=False,
    )  # fmt: skip
    mine = [row.value for row in results.rows if row.stage == "only net.0"]
    assert mine == [row.value for row in expected.rows]
    row = results.layers[0]
    assert row.lost == pytest.approx(results.digital - sum(mine) / 3)
    assert row.a_star_lost == pytest.approx(row.lost / (results.digital - 1 / 3))


def test_kurtosis_before_and_after_are_those_of_the_two_networks(results, digital, analog):
    mapped = copy.deepcopy(digital)
    convert_to_analog(mapped)
    assert [row.kurtosis_before for row in results.layers] == [
        weights.kurtosis for weights in layer_weights(mapped)
    ]
    assert [row.kurtosis_after for row in results.layers] == [
        weights.kurtosis for weights in layer_weights(analog)
    ]
    assert results.layers[0].kurtosis_before != results.layers[0].kurtosis_after


def test_errors_of_products_are_measured_on_the_chips(results):
    assert [row.weights for row in results.layers] == [64, 48]
    assert sum(row.share for row in results.layers) == pytest.approx(1)
    assert all(0.05 < row.mvm_error < 1 for row in results.layers)
    assert all(0 < row.adc_use < 1 for row in results.layers)


def test_loss_of_a_metric_that_should_be_low_is_positive_too(analog):
    found = _report(analog, metric="test_loss", chance=9.0)
    # One layer alone may lose nothing that noise leaves visible; the one that loses most does.
    worst = max(found.layers, key=lambda row: row.lost)
    assert worst.lost > 0
    assert worst.a_star_lost > 0


def test_module_stays_as_it_was(analog, results):
    before = state_fingerprint(analog)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    _report(analog)
    assert torch.equal(torch.rand(3), expected)
    assert state_fingerprint(analog) == before
    assert not is_programmed(analog)
    assert "forward" not in vars(analog.net[0])


def test_two_processes_give_the_same_report(analog, digital, results):
    run = trainer(strategy="aimc_ddp_fork", devices=2)
    assert _report(analog, run, before=digital) == results


def test_finished_rows_are_taken_over_and_those_of_others_refused(analog, tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    first = _report(analog, csv_path=path)
    written = path.read_bytes()
    monkeypatch.setattr(measure, "program_", None)
    assert _report(analog, csv_path=path) == first
    with pytest.raises(ValueError, match="another model, configuration"):
        _report(analog, csv_path=path, seed=1)
    assert path.read_bytes() == written


def test_table_csv_and_figure_hold_every_layer(results, tmp_path):
    text = str(results)
    assert "Layers at 1 day, 3 chips; lost alone: test_acc" in text
    assert "net.2" in text
    assert [table.row_count for table in results.__rich__().renderables] == [2, 2, 2]
    results.to_csv(tmp_path / "layers.csv")
    back = LayerResults.from_csv(tmp_path / "layers.csv")
    assert (back.layers, back.title) == (results.layers, results.title)
    results.plot(tmp_path / "layers.png")
    assert (tmp_path / "layers.png").stat().st_size > 1000


def test_rich_tables_fit_into_80_columns(results):
    rows = tuple(
        replace(row, name=f"network.block{i}.conv2", weights=36864, a_star_lost=0.12345)
        for i, row in enumerate(results.layers)
    )
    console = Console(width=80, file=io.StringIO())
    console.print(replace(results, layers=rows))
    text = console.file.getvalue()
    assert text.count("network.block1.conv2 ") == len(results.__rich__().renderables) == 3
    assert "36,864" in text
    assert "12.35 %" in text
    assert "\u2026" not in text


def test_columns_without_any_value_are_left_out(analog):
    found = _report(analog, before=None)
    assert "kurtosis before" not in found.header
    assert all(math.isnan(row.kurtosis_before) for row in found.layers)


def test_other_csv_is_refused(tmp_path):
    (tmp_path / "layers.csv").write_text("name,tiles\nstem,2\n")
    with pytest.raises(ValueError, match="not a table of layers"):
        LayerResults.from_csv(tmp_path / "layers.csv")


def test_attention_and_its_projection_are_one_group():
    model = nn.Sequential(nn.MultiheadAttention(4, 2), nn.Linear(4, 2))
    convert_to_analog(model)
    assert layer_groups(model) == {"0": ("0", "0.out_proj"), "1": ("1",)}


@pytest.mark.parametrize(("settings", "message"), [
    ({"batches": 0}, "batches is 0"),
    ({"metric": "f1"}, "it logs: test_acc, test_loss"),
    ({"digital": 0.2}, "not better than chance"),
])  # fmt: skip
def test_impossible_arguments_are_refused(analog, settings, message):
    with pytest.raises(ValueError, match=message):
        _report(analog, **settings)


def test_digital_module_is_refused():
    with pytest.raises(ValueError, match="no analog layer"):
        _report(toy())

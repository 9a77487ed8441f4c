import io
import json
import math

import pytest
from rich.console import Console

from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow, RowFile


def _results(values, metric="acc", **settings):
    rows = [DriftRow("hwa", i, 3600.0, metric, v, 0, "f") for i, v in enumerate(values)]
    return DriftResults(rows, metric, **settings)


def test_spread_is_that_of_the_sample():
    (line,) = _results([0.90, 0.92, 0.94]).summary()
    assert line.mean == pytest.approx(0.92)
    assert line.std == pytest.approx(0.02)


def test_interval_is_students():
    # t(0.975, 2 degrees of freedom) = 4.3027 (any table of the distribution)
    (line,) = _results([0.90, 0.92, 0.94]).summary()
    assert line.interval[1] - line.mean == pytest.approx(4.3027 * 0.02 / math.sqrt(3), rel=1e-4)


def test_single_chip_has_no_interval():
    (line,) = _results([0.9]).summary()
    assert line.std == 0
    assert line.interval == (-math.inf, math.inf)


def test_normalised_accuracy_follows_the_definition():
    # WideResNet-50 of the paper: error 23.76 % after one hour, digital 21.53 %, chance 99.9 %
    results = _results([0.7624], digital=0.7847, chance=0.001)
    assert results.summary()[0].a_star == pytest.approx(0.9715, abs=5e-5)
    errors = _results([0.2376], "error", digital=0.2153, chance=0.999)
    assert errors.summary()[0].a_star == pytest.approx(0.9715, abs=5e-5)


def test_iso_accuracy_starts_at_the_share():
    assert _results([0.90], digital=0.90, chance=0.1).summary()[0].iso_accuracy is True
    results = _results([0.89], digital=0.90, chance=0.1)  # A* = 98.75 %
    assert results.summary()[0].iso_accuracy is False
    lenient = _results([0.89], digital=0.90, chance=0.1, share=0.98)
    assert lenient.summary()[0].iso_accuracy is True


def test_unknown_chance_gives_no_verdict():
    (line,) = _results([0.9], digital=0.9).summary()
    assert line.a_star is None
    assert line.iso_accuracy is None


@pytest.mark.parametrize(("metric", "digital", "chance"), [
    ("acc", 0.1, 0.1), ("acc", 0.05, 0.1), ("loss", 2.3, 2.3), ("error", 0.95, 0.9),
    ("acc", 0.92, 10.0),
])  # fmt: skip
def test_meaningless_chance_is_refused(metric, digital, chance):
    with pytest.raises(ValueError, match="not better than chance"):
        _results([0.5], metric, digital=digital, chance=chance)


def test_impossible_share_is_refused():
    with pytest.raises(ValueError, match="share is 0"):
        _results([0.5], share=0.0)


def test_nan_chip_is_counted_and_left_out():
    results = _results([0.9, math.nan, 0.8])
    (line,) = results.summary()
    assert (line.chips, line.nan_chips) == (2, 1)
    assert line.mean == pytest.approx(0.85)
    assert "2 (+1 NaN)" in str(results)


def test_all_chips_nan_give_no_verdict():
    (line,) = _results([math.nan], digital=0.9, chance=0.1).summary()
    assert math.isnan(line.mean)
    assert line.iso_accuracy is None


def test_stages_and_times_are_in_order():
    rows = [DriftRow(s, 0, t, "acc", 0.9, 0, "f") for s in ("hwa", "direct") for t in (9.0, 1.0)]
    order = [(line.stage, line.t_inference_s) for line in DriftResults(rows, "acc").summary()]
    assert order == [("direct", 1.0), ("direct", 9.0), ("hwa", 1.0), ("hwa", 9.0)]


def test_json_has_the_agreed_shape(tmp_path):
    _results([0.90, 0.92], digital=0.93, chance=0.1).to_json(tmp_path / "drift.json")
    data = json.loads((tmp_path / "drift.json").read_text())
    assert list(data) == ["metric", "chance", "digital", "summary"]
    assert list(data["summary"][0]) == [
        "stage", "t_inference_s", "chips", "mean", "std", "a_star", "iso_accuracy",
    ]  # fmt: skip


def test_percent_becomes_fractions_in_json():
    data = _results([90.0, 92.0], digital=93.0, chance=10.0).to_dict()
    assert data["chance"] == pytest.approx(0.1)
    assert data["digital"] == pytest.approx(0.93)
    assert data["summary"][0]["mean"] == pytest.approx(0.91)
    assert data["summary"][0]["a_star"] == pytest.approx(81 / 83)


def test_nan_is_null_in_json():
    assert json.loads(json.dumps(_results([math.nan]).to_dict()))["summary"][0]["mean"] is None


def test_csv_holds_all_rows(tmp_path):
    results = _results([0.9, 0.8])
    results.to_csv(tmp_path / "drift.csv")
    assert RowFile(tmp_path / "drift.csv").rows == list(results.rows)


def test_table_shows_verdict_and_direction():
    text = str(_results([0.31], "loss", digital=0.3, chance=2.3, notes=("remark",)))
    assert "loss (lower is better)" in text
    assert "99.50 %" in text
    assert "yes" in text
    assert text.endswith("remark")


def test_rich_table_renders():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(_results([0.9, 0.8], digital=0.95, chance=0.1))
    assert "A* >= 99 %" in console.export_text()


def test_figure_shows_stage_digital_and_limit(tmp_path):
    results = _results([0.9, 0.8], digital=0.95, chance=0.1)
    (axes,) = results.to_figure().axes
    assert axes.get_xscale() == "log"
    labels = set(axes.get_legend_handles_labels()[1])
    assert labels == {"digital", "A* = 99 %", "HWA trained"}
    results.plot(tmp_path / "drift.png")
    assert (tmp_path / "drift.png").stat().st_size > 1000

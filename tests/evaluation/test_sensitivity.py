import csv
import io
from dataclasses import replace

import pytest
from rich.console import Console

from aimc_lightning import sensitivity
from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.mvm_error import mvm_error
from aimc_lightning.evaluation.nonidealities import NONIDEALITIES
from tests.helpers.toy import LIGHTNING_ADVICE, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


def _study(module, path=None, names=("stuck_zero",), **options):
    settings = {"metric": "test_acc", "chance": 1 / 3, "digital": 0.97, "progress": False}
    return sensitivity(
        trainer(), module, ToyData(samples=150), options.pop("time", "1h"), 2, names, 0.3,
        **{**settings, "csv_path": path, **options},
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    module = toy(hidden=16)
    trainer(epochs=8).fit(module, ToyData(samples=150))
    convert_to_analog(module)
    return module


@pytest.fixture(scope="module")
def results(trained, tmp_path_factory):
    names = ("adc_bits", "output_noise", "stuck_zero", "input_asymmetry")
    return _study(trained, tmp_path_factory.mktemp("rows") / "rows.csv", names)


def _by(results, criterion):
    return {t.name: t for t in results.tolerances if t.criterion == criterion}


@pytest.mark.parametrize("name", ["output_noise", "stuck_zero"])
def test_tile_has_20_percent_error_at_the_interpolated_amount(name, results):
    found = _by(results, "mvm_error")[name]
    config = NONIDEALITIES[name].apply(TileConfig(), found.limit_at)
    error = sum(mvm_error(config, 3600.0, seed) for seed in range(2)) / 2
    assert error == pytest.approx(0.2, abs=0.004)
    assert found.tolerated <= found.limit_at < found.upper


def test_loss_of_a_converter_lies_between_those_of_neighbouring_bits(results):
    found = _by(results, "mvm_error")["adc_bits"]
    assert found.upper == found.tolerated + 1
    values = {
        bits: [row.value for row in results.rows if row.stage == f"adc_bits={bits:g}"]
        for bits in (0, found.tolerated, found.upper)
    }
    standard = [row.value for row in results.rows if row.stage == "standard"]
    share = found.limit_at - found.tolerated

    def loss(bits):
        return sum(a - b for a, b in zip(standard, values[bits], strict=True)) / 2 / (0.97 - 1 / 3)

    expected = (1 - share) * loss(found.tolerated) + share * loss(found.upper)
    assert found.drop_at_mvm == pytest.approx(expected)


def test_iso_accuracy_is_kept_below_and_lost_above(results):
    found = _by(results, "iso_accuracy")["stuck_zero"]
    assert 0 <= found.tolerated < found.upper <= 1
    lost = [row.value for row in results.rows if row.stage == f"stuck_zero={found.upper:.9g}"]
    standard = [row.value for row in results.rows if row.stage == "standard"]
    assert len(lost) == len(standard) == 2
    assert sum(standard) - sum(lost) > 2 * 0.01 * (0.97 - 1 / 3)


def test_multiple_is_relative_to_the_standard_amount(results):
    found = _by(results, "mvm_error")
    noise = found["output_noise"]
    assert noise.standard == 0.04
    assert noise.multiple == noise.tolerated / 0.04 > 1
    assert found["stuck_zero"].multiple is None


def test_table_csv_and_figure_hold_every_tolerance(results, tmp_path):
    text = str(results)
    assert "Tolerated at 1 h, 2 chips" in text
    assert text.count("stuck_zero") == 2
    results.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["tolerated"]) for row in rows] == [t.tolerated for t in results.tolerances]
    results.plot(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert results.__rich__().row_count == 8


def test_rich_table_fits_into_80_columns(results):
    named = replace(results.tolerances[0], name="programming_noise", tolerated=0.12345, std=0.0123)
    console = Console(width=80, file=io.StringIO())
    console.print(replace(results, tolerances=[*results.tolerances, named]))
    text = console.file.getvalue()
    assert "\nprogramming_noise MVM error" in text
    assert "\nstuck_zero        A* " in text
    assert "\u2026" not in text


def test_offset_and_polarity_of_a_chip_are_raised_in_a_network(trained):
    found = _study(trained, names=("voltage_offset", "polarity"))
    assert [t.criterion for t in found.tolerances] == ["mvm_error", "iso_accuracy"] * 2
    for tolerance in found.tolerances:
        assert 0 <= tolerance.tolerated < tolerance.upper
        assert tolerance.standard == 0


def test_model_stays_as_it_was(trained, results):
    assert trained.net[0].analog.config == TileConfig()
    assert not trained.net[0].analog.programmed


def test_effects_the_model_lacks_are_named(trained):
    module = toy(hidden=8)
    convert_to_analog(module, TileConfig().with_values({"dac.bits": None}))
    with pytest.raises(ValueError, match="does not have dac_bits"):
        _study(module, names=("dac_bits",))


def test_rows_are_resumed_and_another_seed_refused(trained, tmp_path):
    path = tmp_path / "rows.csv"
    first = _study(trained, path)
    written = path.read_bytes()
    second = _study(trained, path)
    assert [repr(t) for t in second.tolerances] == [repr(t) for t in first.tolerances]
    assert second.rows == first.rows
    with pytest.raises(ValueError, match="another model"):
        _study(trained, path, seed=1)
    assert path.read_bytes() == written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "nothing"}, "test_acc"),
        ({"chance": 0.99}, "no meaning"),
        ({"chance": None}, "needs digital"),
        ({"names": ("warp",)}, "choose some of dac_bits"),
        ({"names": ()}, "choose some of dac_bits"),
        ({"time": "20y"}, "take an earlier time"),
    ],
)
def test_bad_input_says_what_to_do(options, message, trained, tmp_path):
    with pytest.raises(ValueError, match=message):
        _study(trained, tmp_path / "rows.csv", **options)
    assert not (tmp_path / "rows.csv").exists()


def test_digital_module_is_refused():
    with pytest.raises(ValueError, match="no analog layer"):
        _study(toy(hidden=8))

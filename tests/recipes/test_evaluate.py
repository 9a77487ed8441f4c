import csv
import json

import pytest
import torch
from lightning.pytorch import Trainer

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.recipes.catalog import recipe_files
from aimc_lightning.recipes.cli import main
from aimc_lightning.recipes.lightning_cli import AimcCLI
from aimc_lightning.zoo.pretrained import shipped_checkpoint
from aimc_lightning.zoo.registry import get_model
from tests.helpers.toy import LIGHTNING_ADVICE

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]
SHORT = ["--chips", "1", "--set", "trainer.limit_test_batches=1", "--traceback"]
SHORT += ["--set", "data.init_args.eval_batch_size=20"]


@pytest.fixture
def checkpoint(tmp_path):
    """An untrained digital checkpoint whose predictions are better than chance by its metric."""
    pytest.importorskip("sklearn")
    torch.manual_seed(0)
    path = tmp_path / "digital.ckpt"
    trainer = Trainer(accelerator="cpu", logger=False, barebones=True, max_epochs=0)
    trainer.strategy.connect(get_model("resnet8_digits"))
    trainer.save_checkpoint(path, weights_only=True)
    return path


def _run(checkpoint, out, *arguments):
    source = ["--config", str(recipe_files("resnet8_digits")["drift"])]
    arguments = [*source, "--ckpt_path", str(checkpoint), "--out", str(out), *arguments]
    main(["evaluate", *arguments, *SHORT, "--set", "trainer.callbacks=null"])


def _rows(out):
    with (out / "drift.csv").open() as file:
        return list(csv.DictReader(file))


def test_evaluate_writes_table_numbers_and_figure(checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    _run(checkpoint, out, "--times", "1s", "1h")
    assert [row["t_inference_s"] for row in _rows(out) if row["stage"] == "direct"] == [
        "1.0",
        "3600.0",
    ]
    assert len(json.loads((out / "drift.json").read_text())["summary"]) == 2
    assert (out / "drift.png").stat().st_size > 1000
    assert "1 h" in capsys.readouterr().out


def test_evaluate_goes_on_where_it_stopped(checkpoint, tmp_path):
    out = tmp_path / "out"
    _run(checkpoint, out, "--times", "1s", "1h")
    expected = (out / "drift.csv").read_bytes()
    (out / "drift.csv").write_bytes(b"".join(expected.splitlines(keepends=True)[:-1]))
    _run(checkpoint, out, "--times", "1s", "1h")
    assert (out / "drift.csv").read_bytes() == expected


def test_evaluate_measures_the_network_that_ships(tmp_path):
    pytest.importorskip("sklearn")
    source = ["--zoo", "resnet8_digits", "--pretrained", "resnet8_digits", "--digital", "0.992"]
    options = ["--times", "1h", "--chips", "2", "--traceback"]
    main(["evaluate", *source, *options, "--out", str(tmp_path / "out")])
    published = shipped_checkpoint("resnet8_digits") / "eval" / "drift.csv"
    with published.open() as file:
        expected = {
            row["chip"]: float(row["value"])
            for row in csv.DictReader(file)
            if (row["stage"], row["t_inference_s"]) == ("hwa", "3600.0") and int(row["chip"]) < 2
        }
    found = {row["chip"]: float(row["value"]) for row in _rows(tmp_path / "out")}
    # Matrices ship in half precision, the published rows are from before the rounding.
    assert found == pytest.approx(expected, abs=0.01)
    assert json.loads((tmp_path / "out" / "drift.json").read_text())["digital"] == 0.992


def test_network_of_another_kind_is_refused(tmp_path):
    pytest.importorskip("sklearn")
    source = ["--zoo", "resnet8_digits", "--pretrained", "lstm_charlm"]
    with pytest.raises(ValueError, match="'lstm_charlm' is a .*: give the --zoo or --config of"):
        main(["evaluate", *source, "--out", str(tmp_path / "out"), "--traceback"])
    assert not (tmp_path / "out").exists()


ADC_BITS = "trainer.callbacks.AnalogTraining.config.adc.bits"
SHIPPED = ["--zoo", "resnet8_digits", "--pretrained", "resnet8_digits", "--traceback"]


def test_network_on_other_tiles_than_the_yaml_wants_is_refused(tmp_path):
    pytest.importorskip("sklearn")
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="adc.bits was 8 and is 6.*evaluate --remap"):
        main(["evaluate", *SHIPPED, "--set", f"{ADC_BITS}=6", "--out", str(out)])
    assert not out.exists()


def test_network_is_measured_on_other_tiles_without_training(tmp_path, capsys):
    pytest.importorskip("sklearn")
    scores = []
    for bits in (8, 3):
        out = tmp_path / str(bits)
        arguments = [*SHIPPED, "--remap", "--times", "1h", "--chips", "1", "--digital", "0.992"]
        main(["evaluate", *arguments, "--set", f"{ADC_BITS}={bits}", "--out", str(out)])
        assert "8 layers on 9 tiles" in capsys.readouterr().out
        (row,) = _rows(out)
        assert row["stage"] == "hwa"
        scores.append(float(row["value"]))
    assert scores[0] > 0.98
    assert scores[1] < scores[0] - 0.05


def test_remapping_needs_tiles(tmp_path):
    pytest.importorskip("sklearn")
    none = ["--set", "trainer.callbacks=null", "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="AnalogTraining, which the YAML does not name: add it"):
        main(["evaluate", *SHIPPED, "--remap", *none])


def test_directly_mapped_network_spares_the_layers_of_the_yaml(checkpoint, tmp_path):
    rows = []
    for name, excluded in (("some", "[network.conv1]"), ("none", "[]")):
        out = tmp_path / name
        arguments = ["--zoo", "resnet8_digits", "--ckpt_path", str(checkpoint), "--times", "1y"]
        change = ["--set", f"trainer.callbacks.AnalogTraining.exclude={excluded}"]
        main(["evaluate", *arguments, *SHORT, *change, "--digital", "0.9", "--out", str(out)])
        (row,) = _rows(out)
        rows.append(row)
    some, none = rows
    assert some["stage"] == none["stage"] == "direct"
    assert some["fingerprint"] != none["fingerprint"]


def test_evaluate_measures_what_helps_without_training(checkpoint, tmp_path, capsys):
    _run(checkpoint, tmp_path / "out", "--times", "1h", "--recalibrate", "batch_norm", "max+column")
    stages = [row["stage"] for row in _rows(tmp_path / "out")]
    assert stages == ["digital", "direct", "direct+bn", "direct+max+column"]
    assert "direct+bn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recalibrate", "warp"], "recalibrate is 'warp'; it must be None or some of"),
        (["--times", "soon"], "Cannot read the time 'soon'"),
        (["--ckpt_path", "none.ckpt"], "There is no checkpoint at none.ckpt"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    arguments, message, checkpoint, tmp_path
):
    with pytest.raises((ValueError, OSError), match=message):
        _run(checkpoint, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_deep_option_of_the_tiles_is_reached_from_a_flag():
    pytest.importorskip("sklearn")
    cli = AimcCLI(
        [
            "--config",
            str(recipe_files("resnet8_digits")["digital"]),
            "--trainer.callbacks+=aimc_lightning.AnalogTraining",
            "--trainer.callbacks.config.adc.bits=6",
            '--trainer.callbacks.validation.on=["ideal","1d"]',
        ],
        run=False,
    )
    (callback,) = [cb for cb in cli.trainer.callbacks if isinstance(cb, AnalogTraining)]
    assert callback.tile_config.adc.bits == 6
    assert callback.validation.entries == ("ideal", "1d")


def test_completion_knows_commands_and_options(capsys):
    pytest.importorskip("shtab")
    main(["completion", "bash"])
    text = capsys.readouterr().out
    assert "evaluate" in text
    assert "--ckpt_path" in text

import pytest
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
)

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.calibration_callback import CalibrateInputRanges
from aimc_lightning.evaluation.callback import DriftEvaluation
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.validation import Validation
from aimc_lightning.nn.base import is_programmed
from tests.helpers.toy import LIGHTNING_ADVICE, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


def _drift(when, **settings):
    # chance 0: a network of one epoch is hardly better than a guess
    defaults = {"times": ("1s", "1d"), "chips": 2, "chance": 0.0}
    return DriftEvaluation(when=when, **{**defaults, **settings})


def test_table_after_test_equals_evaluate_drift():
    drift = _drift("test", metric="test_acc")
    run = trainer(AnalogTraining(), drift, epochs=1)
    module = toy()
    run.fit(module, ToyData())
    (logged,) = run.test(module, ToyData(), verbose=False)
    expected = evaluate_drift(
        run, module, ToyData(), ("1s", "1d"), 2, metric="test_acc", chance=0.0, progress=False
    )
    assert drift.results.rows == expected.rows
    assert "test_acc" in logged  # the ordinary result of trainer.test is still there
    assert not is_programmed(module)
    assert "run" not in vars(run.test_loop)


def test_end_of_fit_uses_the_validation_data_and_disturbs_no_other_callback(tmp_path):
    drift = _drift("fit", metric="val_acc", folder=tmp_path / "out")
    saver = ModelCheckpoint(tmp_path, monitor="val_acc", save_top_k=-1)
    stopping = EarlyStopping("val_acc", patience=3)
    run = trainer(AnalogTraining(), EMAWeightAveraging(), stopping, saver, drift, epochs=2)
    module = toy()
    run.fit(module, ToyData())
    assert len(drift.results.rows) == 4
    assert len(list(tmp_path.glob("*.ckpt"))) == 2
    assert stopping.wait_count <= 2
    assert not is_programmed(module)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["fit_drift.csv", "fit_drift.json", "fit_drift.png"]


@pytest.mark.parametrize("bar", [RichProgressBar, TQDMProgressBar])
def test_progress_is_shown_beside_that_of_the_trainer(bar, capsys):
    run = trainer(
        AnalogTraining(), bar(), _drift("both", metric=None), epochs=1, enable_progress_bar=True
    )
    module = toy()
    run.fit(module, ToyData())
    assert "2 chips at 1 s, 1 day" in capsys.readouterr().out
    run.test(module, ToyData())
    assert "2 chips at 1 s, 1 day" in capsys.readouterr().out


def test_live_bar_can_be_drawn_while_chips_and_ranges_are_measured():
    drawn = []

    class Step(Toy):
        def validation_step(self, batch, batch_idx):
            # As a thread of the bar does at any time.
            drawn.append(bar.progress.get_renderable())
            super().validation_step(batch, batch_idx)

    bar = RichProgressBar()
    validated = AnalogTraining(validation=Validation(on=("ideal", "1d")))
    callbacks = validated, bar, CalibrateInputRanges(max_batches=2)
    trainer(*callbacks, epochs=1, enable_progress_bar=True).fit(Step(), ToyData())
    assert len(drawn) >= 3 + 3 + 2
    assert bar.is_enabled


def test_without_progress_bar_none_is_shown(capsys):
    run = trainer(AnalogTraining(), _drift("test", metric="test_acc"), epochs=1)
    run.test(toy(), ToyData())
    assert "chips at" not in capsys.readouterr().out


def test_rows_of_another_model_in_the_folder_are_refused_and_kept(tmp_path):
    module = toy()
    convert_to_analog(module)
    folder = tmp_path / "out"
    trainer(_drift("test", metric="test_acc", folder=folder)).test(module, ToyData(), verbose=False)
    written = (folder / "drift.csv").read_bytes()
    other = toy(seed=1)
    convert_to_analog(other)
    with pytest.raises(ValueError, match="another model, configuration, metric or seed"):
        trainer(_drift("test", metric="test_acc", folder=folder)).test(other, ToyData())
    assert (folder / "drift.csv").read_bytes() == written


def test_no_reminder_with_drift_evaluation(caplog):
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        trainer(AnalogTraining(), _drift("fit", metric="val_acc"), epochs=1).fit(toy(), ToyData())
    assert not any("never programmed" in record.message for record in caplog.records)
    assert any("Drift evaluation: val_acc" in record.message for record in caplog.records)


@pytest.mark.parametrize(("settings", "message"), [
    ({"when": "never"}, "when is 'never'"),
    ({"when": "fit", "chips": 0}, "chips is 0"),
    ({"when": "fit", "times": ("x",)}, "Cannot read the time 'x'"),
])  # fmt: skip
def test_impossible_settings_are_refused_at_set_up(settings, message):
    with pytest.raises(ValueError, match=message):
        trainer(AnalogTraining(), DriftEvaluation(**settings), epochs=1).fit(toy(), ToyData())

import copy
import json

import pytest
import torch
import torchmetrics
from lightning.pytorch import Callback
from torch import nn

from aimc_lightning.checkpoint import state_fingerprint
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation import measure
from aimc_lightning.evaluation.batch_norm import batch_norm_of_chip
from aimc_lightning.evaluation.rows import RowFile
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.nn.base import is_programmed, program_, set_time_
from tests.helpers.toy import LIGHTNING_ADVICE, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


class _Normalised(Toy):
    """Toy with batch norm, a metric that accumulates, and a loss averaged over processes."""

    def _make(self):
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=3)

    def test_step(self, batch, batch_idx):
        loss, _ = self._loss(batch)
        self.accuracy(self(batch[0]), batch[1])
        self.log("test_acc", self.accuracy)
        self.log("test_loss", loss, sync_dist=True)


class _TestOnly(ToyData):
    train_dataloader = ToyData.__mro__[1].train_dataloader


@pytest.fixture(scope="module")
def digital():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = _Normalised()
        trainer(epochs=8, limit_val_batches=0).fit(module, ToyData(samples=200))
    return module


@pytest.fixture
def analog(digital):
    module = copy.deepcopy(digital)
    convert_to_analog(module)
    return module


def _evaluate(module, *callbacks, data=None, run=None, **settings):
    options = {"metric": "test_loss", "chance": 9.0, "recalibrate": "batch_norm", **settings}
    data = ToyData(samples=96) if data is None else data
    run = trainer(*callbacks) if run is None else run
    return evaluate_drift(run, module, data, ("1s", "1y"), 2, progress=False, **options)


def _rows(results, stage):
    return [row for row in results.rows if row.stage == stage]


def test_rows_stand_beside_the_plain_ones_which_stay_the_same(analog, digital):
    results = _evaluate(analog, direct=digital)
    plain = _evaluate(analog, direct=digital, recalibrate=None)
    stages = ["direct", "direct+bn", "hwa", "hwa+bn"]
    assert [line.stage for line in results.summary()] == [s for s in stages for _ in range(2)]
    assert [row for row in results.rows if "+bn" not in row.stage] == plain.rows
    assert all(
        new.value != old.value
        for stage in ("direct", "hwa")
        for new, old in zip(_rows(results, f"{stage}+bn"), _rows(plain, stage), strict=True)
    )


def test_statistics_are_the_mean_over_batches_of_what_the_chip_gives(analog):
    batches = [torch.randn(8, 4) for _ in range(3)]
    program_(analog, 1)
    set_time_(analog, 86400.0, 2)
    seen = []
    hook = analog.net[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def run():
        with torch.no_grad():
            for x in batches:
                analog(x)
        return len(batches)

    with batch_norm_of_chip(analog, run):
        hook.remove()
        mean = torch.stack([x.mean(0) for x in seen]).mean(0)
        var = torch.stack([x.var(0) for x in seen]).mean(0)
        torch.testing.assert_close(analog.net[1].running_mean, mean)
        torch.testing.assert_close(analog.net[1].running_var, var)
    assert is_programmed(analog)


def test_re_estimation_makes_up_for_statistics_that_do_not_fit(analog):
    fitting = _evaluate(analog)
    with torch.no_grad():
        analog.net[1].running_mean.add_(3.0)
    shifted = _evaluate(analog)
    for stage, same in (("hwa", False), ("hwa+bn", True)):
        values = [[row.value for row in _rows(found, stage)] for found in (fitting, shifted)]
        assert (values[0] == values[1]) == same


@pytest.mark.parametrize("module", ["analog", "digital"])
def test_training_batches_do_not_count_in_the_metric(module, tmp_path, request):
    module = request.getfixturevalue(module)
    given = {
        "metric": "test_acc",
        "chance": 1 / 3,
        "digital": 0.97,
        "data": ToyData(test_samples=1),
    }
    for recalibrate in (None, "batch_norm"):  # the second call begins with training batches
        results = _evaluate(
            module, recalibrate=recalibrate, csv_path=tmp_path / "drift.csv", **given
        )
        assert {row.value for row in results.rows} <= {0.0, 1.0}


def test_module_is_the_same_afterwards(analog):
    analog.net[2].eval()
    before = state_fingerprint(analog), [part.training for part in analog.modules()]
    _evaluate(analog)
    assert (state_fingerprint(analog), [part.training for part in analog.modules()]) == before
    assert analog.net[1].momentum == 0.1
    assert not is_programmed(analog)


@pytest.mark.parametrize("where", ["training", "measuring"])
def test_statistics_come_back_after_an_error(analog, where):
    class Cut(Callback):
        def on_test_start(self, _, module):
            # Two passes per batch.
            if where == "measuring" and module.net[1].num_batches_tracked == 6:
                raise RuntimeError("power cut")

    def fail(*_):
        if analog.net[1].training:
            raise RuntimeError("power cut")

    before = state_fingerprint(analog)
    hook = analog.net[1].register_forward_hook(fail) if where == "training" else None
    with pytest.raises(RuntimeError, match="power cut"):
        _evaluate(analog, Cut(), recalibration_batches=3)
    if hook is not None:
        hook.remove()
    assert state_fingerprint(analog) == before
    assert analog.net[1].momentum == 0.1


def test_same_seed_gives_the_same_rows_and_a_cut_file_is_completed(analog, tmp_path):
    expected = _evaluate(analog, csv_path=tmp_path / "whole.csv").rows
    whole = (tmp_path / "whole.csv").read_bytes()
    lines = whole.splitlines(keepends=True)
    for kept in (3, len(lines) - 3, len(lines) - 1):
        path = tmp_path / "drift.csv"
        path.write_bytes(b"".join(lines[:kept]))
        assert _evaluate(analog, csv_path=path).rows == expected
        assert path.read_bytes() == whole
    other = _rows(_evaluate(analog, seed=1), "hwa+bn")
    assert [row.value for row in other] != [r.value for r in expected if r.stage == "hwa+bn"]


def test_finished_plain_rows_are_taken_over(analog, tmp_path, monkeypatch):
    _evaluate(analog, recalibrate=None, csv_path=tmp_path / "drift.csv")
    times = []
    original = measure.set_time_
    monkeypatch.setattr(measure, "set_time_", lambda *a: (times.append(a[1]), original(*a)))
    assert len(_evaluate(analog, csv_path=tmp_path / "drift.csv").rows) == 8
    assert len(times) == 4


def test_other_number_of_batches_is_refused_and_nothing_written(analog, tmp_path):
    path = tmp_path / "drift.csv"
    _evaluate(analog, csv_path=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"rows of stage 'hwa\+bn' measured with another"):
        _evaluate(analog, csv_path=path, recalibration_batches=2)
    assert path.read_bytes() == before


def test_two_processes_give_the_rows_of_one(analog, tmp_path):
    path = tmp_path / "rows.csv"
    run = trainer(strategy="aimc_ddp_fork", devices=2)
    shared = _evaluate(analog, run=run, csv_path=path).rows
    assert shared == _evaluate(analog).rows
    assert len([row for row in RowFile(path).rows if row.stage == "hwa+bn"]) == 4


def test_files_keep_their_shape(analog, tmp_path):
    results = _evaluate(analog, csv_path=tmp_path / "drift.csv")
    results.to_json(tmp_path / "drift.json")
    results.plot(tmp_path / "drift.png")
    entries = json.loads((tmp_path / "drift.json").read_text())["summary"]
    assert [entry["stage"] for entry in entries] == ["hwa"] * 2 + ["hwa+bn"] * 2
    assert {tuple(entry) for entry in entries} == {tuple(entries[0])}


@pytest.mark.parametrize(("settings", "message"), [
    ({"recalibrate": "bn"}, "recalibrate is 'bn'; it must be None or some of batch_norm"),
    ({"recalibration_batches": 0}, "recalibration_batches is 0"),
    ({"data": _TestOnly()}, "there is no training loader"),
    ({"direct": toy()}, "Toy has none"),
])  # fmt: skip
def test_impossible_settings_are_refused_before_anything_is_written(
    analog, settings, message, tmp_path
):
    with pytest.raises(ValueError, match=message):
        _evaluate(analog, csv_path=tmp_path / "drift.csv", **settings)
    assert not (tmp_path / "drift.csv").exists()


def test_model_without_batch_norm_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="Toy has none; leave recalibrate out"):
        _evaluate(toy())


def test_empty_training_data_is_an_error_and_statistics_stay(analog):
    before = state_fingerprint(analog)
    with pytest.raises(ValueError, match="training data loader gave no batch"):
        _evaluate(analog, data=ToyData(samples=0, test_samples=32))
    assert state_fingerprint(analog) == before

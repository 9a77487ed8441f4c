import copy
import math

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from aimc_lightning.checkpoint import state_fingerprint
from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation import measure
from aimc_lightning.evaluation.measure import chip_seed, digital_layers, row_seed
from aimc_lightning.evaluation.rows import RowFile
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_layers, is_programmed
from aimc_lightning.presets import get_preset
from tests.helpers.toy import LIGHTNING_ADVICE, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

TIMES = ("1s", "1d")


@pytest.fixture(scope="module")
def digital():
    """A digital module that has learned its task."""
    module = toy(hidden=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        run = trainer(epochs=30, limit_val_batches=0)
        run.fit(module, ToyData(samples=200))
    return module


@pytest.fixture
def analog(digital):
    """An analog copy of it."""
    module = toy(hidden=16)
    module.load_state_dict(digital.state_dict())
    convert_to_analog(module)
    return module


def _evaluate(module, *callbacks, times=TIMES, chips=2, metric="test_acc", data=None, **settings):
    data = ToyData(samples=100) if data is None else data
    return evaluate_drift(
        trainer(*callbacks), module, data, times, chips, metric=metric, progress=False, **settings
    )


def test_one_row_per_chip_and_time(analog):
    results = _evaluate(analog)
    keys = [(row.chip, row.t_inference_s) for row in results.rows]
    assert keys == [(0, 1.0), (0, 86400.0), (1, 1.0), (1, 86400.0)]
    assert all(row.stage == "hwa" for row in results.rows)
    assert results.digital > 0.95


def test_trained_weights_are_not_changed_and_no_chip_is_left(analog):
    before = state_fingerprint(analog)
    _evaluate(analog, digital=0.97)
    assert state_fingerprint(analog) == before
    assert not is_programmed(analog)
    assert analog.training


def test_same_seed_gives_the_same_rows_and_another_seed_others(analog):
    rows = _evaluate(analog, metric="test_loss").rows
    assert _evaluate(analog, metric="test_loss").rows == rows
    assert [r.value for r in _evaluate(analog, metric="test_loss", seed=1).rows] != [
        r.value for r in rows
    ]


def test_rows_do_not_depend_on_which_others_are_measured(analog):
    def values(results):
        return {row.key: row.value for row in results.rows}

    many = values(_evaluate(analog, metric="test_loss", chips=3, times=("1d", "1h", 1)))
    few = values(_evaluate(analog, metric="test_loss", chips=2, times=("1d",)))
    assert few.items() <= many.items()


def test_global_random_state_is_left_alone(analog):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    _evaluate(analog)
    assert torch.equal(torch.rand(3), expected)


def test_each_chip_is_programmed_once_and_times_ascend(analog, monkeypatch):
    calls = []
    monkeypatch.setattr(measure, "program_", _noting(calls, "chip", measure.program_))
    monkeypatch.setattr(measure, "set_time_", _noting(calls, "time", measure.set_time_))
    _evaluate(analog, times=("1y", "1s"))
    assert calls == [
        ("chip", chip_seed(0, 0)), ("time", 1.0), ("time", 31536000.0),
        ("chip", chip_seed(0, 1)), ("time", 1.0), ("time", 31536000.0),
    ]  # fmt: skip


def _noting(calls, name, function):
    def noted(module, value, *rest):
        calls.append((name, value))
        return function(module, value, *rest)

    return noted


def test_set_up_is_paid_once_for_the_sweep(analog):
    class Counter(Callback):
        setups = passes = 0

        def setup(self, *_, **__):
            self.setups += 1

        def on_test_start(self, *_):
            self.passes += 1

    class Data(ToyData):
        loaders = 0

        def test_dataloader(self):
            self.loaders += 1
            return super().test_dataloader()

    counter, data = Counter(), Data(samples=50)
    _evaluate(analog, counter, data=data)
    assert (counter.setups, data.loaders) == (1, 1)
    assert counter.passes == 1 + 2 * 2  # digital, then chips x times


def test_analog_training_callback_of_the_trainer_stays_out(digital, analog):
    results = _evaluate(analog, AnalogTraining(), direct=digital)
    assert not analog_layers(digital)
    assert {row.stage for row in results.rows} == {"direct", "hwa"}


def test_direct_mapping_works_on_a_copy_with_calibrated_ranges(digital, analog):
    before = state_fingerprint(digital)
    results = _evaluate(analog, direct=digital)
    assert state_fingerprint(digital) == before
    assert results.digital == _evaluate(digital, digital=None).digital
    assert results.rows == _evaluate(analog, direct=digital).rows


def test_without_training_loader_direct_ranges_come_from_the_evaluated_inputs(digital):
    module = copy.deepcopy(digital)
    with torch.no_grad():
        module.net[0].weight /= 50
    x, y = ToyData(samples=100).points.tensors
    points = TensorDataset(50 * x, y)  # the range of 3 before training would clip all
    found = _evaluate(module, data=DataLoader(points, 25))
    assert "input ranges come from the evaluated inputs" in str(found)

    class Both(LightningDataModule):
        def train_dataloader(self):
            return DataLoader(points, 25)

        test_dataloader = train_dataloader

    given = _evaluate(module, data=Both())
    assert "input ranges" not in str(given)
    for one, other in zip(found.summary(), given.summary(), strict=True):
        assert one.mean == pytest.approx(other.mean, abs=0.03)
        assert one.mean > 0.9


def test_digital_module_is_mapped_directly(digital):
    results = _evaluate(digital, config="ideal")
    assert {row.stage for row in results.rows} == {"direct"}
    # An ideal chip of an ideal tile loses nothing.
    assert all(row.value == results.digital for row in results.rows)


def test_digital_module_can_be_given_for_the_baseline(digital, analog):
    assert _evaluate(analog, digital=digital).digital == _evaluate(digital).digital


def test_digital_layers_equal_the_digital_model_bit_for_bit(digital, analog):
    x = torch.randn(5, 4)
    with digital_layers(analog):
        assert torch.equal(analog(x), digital(x))
    assert not torch.equal(analog(x), digital(x))


def test_digital_layers_fold_trained_scales(analog):
    with torch.no_grad():
        analog.net[2].analog.tiles[0].out_scale.fill_(2.0)
        x = torch.randn(5, 16)
        expected = 2 * nn.functional.linear(x, analog.net[2].weight) + analog.net[2].bias
        with digital_layers(analog):
            torch.testing.assert_close(analog.net[2](x), expected)


def test_chance_is_derived_and_said(analog):
    results = _evaluate(analog)
    assert results.chance == pytest.approx(1 / 3)
    assert "3 outputs of 'net.2'" in str(results)
    assert results.summary()[0].a_star is not None


def test_validation_is_used_without_a_test_step(analog):
    class Validating(Toy):
        test_step = LightningModule.test_step

    module = Validating(hidden=16)
    convert_to_analog(module)
    assert _evaluate(module, metric="val_acc").metric == "val_acc"


def test_plain_loader_is_taken(analog):
    loader = ToyData(samples=50).test_dataloader()
    assert len(_evaluate(analog, data=loader).rows) == 4


def test_resumed_sweep_gives_the_rows_of_an_uninterrupted_one(analog, tmp_path):
    path = tmp_path / "drift.csv"
    expected = _evaluate(analog, chips=3, csv_path=tmp_path / "whole.csv").rows
    whole = (tmp_path / "whole.csv").read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        assert _evaluate(analog, chips=3, csv_path=path).rows == expected
        assert path.read_bytes() == whole


def test_finished_rows_are_not_measured_again(analog, tmp_path, monkeypatch):
    expected = _evaluate(analog, csv_path=tmp_path / "drift.csv").rows
    monkeypatch.setattr(measure, "program_", None)
    assert _evaluate(analog, csv_path=tmp_path / "drift.csv").rows == expected


@pytest.mark.parametrize("change", ["weights", "seed", "metric", "config"])
def test_rows_of_something_else_are_refused_and_kept(analog, digital, change, tmp_path):
    path = tmp_path / "drift.csv"
    _evaluate(analog, csv_path=path)
    before = path.read_bytes()
    module, settings = analog, {}
    if change == "weights":
        with torch.no_grad():
            analog.net[0].weight[0, 0] += 0.1
    elif change == "config":
        module = toy(hidden=16)
        module.load_state_dict(digital.state_dict())
        convert_to_analog(module, get_preset("standard_pcm").with_values({"adc.bits": 6}))
    else:
        settings = {"seed": {"seed": 1}, "metric": {"metric": "test_loss"}}[change]
    with pytest.raises(ValueError, match="another model, configuration, metric or seed"):
        _evaluate(module, csv_path=path, **settings)
    assert path.read_bytes() == before


def test_interrupted_sweep_keeps_its_rows_and_removes_the_chip(analog, tmp_path):
    class Interrupt(Callback):
        passes = 0

        def on_test_start(self, *_):
            self.passes += 1
            if self.passes == 4:
                raise RuntimeError("power cut")

    path = tmp_path / "drift.csv"
    with pytest.raises(RuntimeError, match="power cut"):
        _evaluate(analog, Interrupt(), csv_path=path, digital=0.9)
    assert len(RowFile(path).rows) == 3
    assert not is_programmed(analog)
    assert "run" not in vars(trainer().test_loop)


def test_nan_metric_on_one_chip_is_kept_marked_and_counted(analog, tmp_path):
    class Sometimes(Callback):
        passes = 0

        def on_test_epoch_end(self, trainer, pl_module):
            self.passes += 1
            pl_module.log("score", math.nan if self.passes == 2 else 0.5)

    path = tmp_path / "drift.csv"
    settings = {"metric": "score", "digital": 1.0, "chance": 0.0, "csv_path": path}
    results = _evaluate(analog, Sometimes(), **settings)
    assert sum(line.nan_chips for line in results.summary()) == 1
    assert len(results.rows) == 4
    assert "1 (+1 NaN)" in str(results)
    assert path.read_text().count(",nan,") == 1
    again = _evaluate(analog, **settings)  # would log no score: nothing is measured again
    assert str(again) == str(results)


def test_unknown_metric_lists_those_logged(analog):
    with pytest.raises(ValueError, match=r"'f1'; it logs: test_acc, test_loss"):
        _evaluate(analog, metric="f1")


def test_empty_loader_is_an_error(analog):
    with pytest.raises(ValueError, match="test data loader gave no batch"):
        _evaluate(analog, data=ToyData(test_samples=0))


def test_one_sample_is_enough(analog):
    assert len(_evaluate(analog, data=ToyData(test_samples=1)).rows) == 4


@pytest.mark.parametrize(("settings", "message"), [
    ({"times": ("1 week",)}, "Cannot read the time '1 week'"),
    ({"times": (-5,)}, "time -5 is not possible"),
    ({"times": ()}, "times is empty"),
    ({"chips": 0}, "chips is 0"),
    ({"digital": 0.1, "chance": 0.5}, "not better than chance"),
    ({"chance": 5.0}, "not better than chance"),
])  # fmt: skip
def test_impossible_settings_are_refused(analog, settings, message):
    with pytest.raises(ValueError, match=message):
        _evaluate(analog, **settings)


def test_time_without_device_data_is_refused_before_any_chip(digital, monkeypatch):
    module = toy(hidden=16)
    config = TileConfig.from_dict({"chip": {"device": {"name": "reram_wan2022"}}})
    convert_to_analog(module, config)
    monkeypatch.setattr(measure, "program_", None)
    with pytest.raises(ValueError, match=r"86400"):
        _evaluate(module, times=("1d", "1y"))


def test_unknown_option_is_refused(analog):
    with pytest.raises(TypeError, match="metrics"):
        _evaluate(analog, metrics="test_acc")


def test_nan_weight_names_the_layer(analog):
    with torch.no_grad():
        analog.net[2].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in net\.2\.weight"):
        _evaluate(analog)


def test_infinite_input_names_the_layer(analog):
    data = ToyData(samples=50)
    data.points.tensors[0][7, 0] = math.inf
    with pytest.raises(ValueError, match=r"Layer 'net\.0' received NaN or infinity"):
        _evaluate(analog, data=data)


def test_seeds_of_rows_and_chips_differ():
    seeds = {chip_seed(s, c) for s in range(5) for c in range(5)}
    seeds |= {row_seed(s, c, t) for s in range(5) for c in range(5) for t in (0.0, 1.0)}
    assert len(seeds) == 75


def test_rows_come_back_from_forked_processes(analog):
    run = trainer(strategy="ddp_fork", devices=2)
    data = ToyData(samples=100)
    results = evaluate_drift(run, analog, data, ("1s",), 1, metric="test_acc", progress=False)
    assert len(results.rows) == 1


class _Counting(Toy):
    """Scores with a metric object, which adds up batches until Lightning resets it."""

    def __init__(self) -> None:
        super().__init__(hidden=16)
        self.accuracy = MulticlassAccuracy(num_classes=3, average="micro")

    def test_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.accuracy(self(batch[0]), batch[1])
        self.log("test_acc", self.accuracy)


def test_first_row_does_not_count_the_batches_of_the_calibration(digital):
    module = _Counting()
    module.load_state_dict(digital.state_dict(), strict=False)
    after_a_digital_pass = _evaluate(module).rows
    at_once = _evaluate(module, digital=0.97).rows
    assert [row.value for row in at_once] == [row.value for row in after_a_digital_pass]


class _Adding(Toy):
    """Scores with a mean, which adds in place and is reset by the module itself."""

    def __init__(self) -> None:
        super().__init__(hidden=16)
        self.mean = MeanMetric()

    def test_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.mean.update((self(batch[0]).argmax(1) == batch[1]).float())

    def on_test_epoch_end(self) -> None:
        self.log("test_acc", self.mean.compute())
        self.mean.reset()


def test_training_batches_may_follow_a_pass_in_inference_mode(digital):
    module = _Adding()
    module.load_state_dict(digital.state_dict(), strict=False)
    convert_to_analog(module)
    results = _evaluate(module, recalibrate="mvm_error", chips=1)
    assert {row.stage for row in results.rows} == {"hwa", "hwa+mvm_error"}


class _Terminated(Callback):
    """What Lightning notes when the process is asked to end."""

    def on_test_batch_end(self, trainer, *_):
        trainer._signal_connector.received_sigterm = True


def test_request_to_end_is_heard_after_the_row_also_with_one_batch(analog, digital, tmp_path):
    settings = {
        "data": ToyData(samples=4), "digital": 0.9, "chance": 1 / 3,
        "csv_path": tmp_path / "rows.csv",
    }  # fmt: skip
    with pytest.raises(SystemExit):
        _evaluate(analog, _Terminated(), **settings)
    assert len(RowFile(settings["csv_path"]).rows) == 1
    assert len(_evaluate(analog, **settings).rows) == 4

import copy
import itertools

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningCLI
from torch import nn

from aimc_lightning import assign_digital
from aimc_lightning.checkpoint import state_fingerprint
from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation import measure
from aimc_lightning.evaluation.layers.assign import _Study, quiet
from aimc_lightning.evaluation.measure import Sweep
from aimc_lightning.evaluation.options import DriftOptions
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_layers
from tests.helpers.toy import LIGHTNING_ADVICE, Toy, ToyData, toy, trainer

pytestmark = [
    *(pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE),
    pytest.mark.filterwarnings("ignore:LightningCLI.s args parameter"),
]
LOSSY = TileConfig().with_values({"adc.bits": 5, "chip.device.prog_noise_scale": 3.0})
OPTIONS = {"metric": "test_loss", "chance": 1.1, "progress": False}


class Deep(Toy):
    """Five layers of different sizes."""

    def _make(self):
        sizes = [4, 24, 12, 16, 8, 3]
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        parts = [part for layer in layers for part in (layer, nn.Tanh())][:-1]
        self.net = nn.Sequential(*parts)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


@pytest.fixture(scope="module")
def digital():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Deep()
        trainer(epochs=20).fit(module, ToyData(samples=200))
    return module


@pytest.fixture(scope="module")
def analog(digital):
    module = copy.deepcopy(digital)
    convert_to_analog(module, LOSSY)
    return module


@pytest.fixture(scope="module")
def score(digital):
    return evaluate_drift(
        trainer(), digital, ToyData(samples=150), ("1h",), 1, metric="test_loss", chance=9.0,
        progress=False,
    ).digital  # fmt: skip


def _every_subset(analog, score, spare):
    """A* of all 32 sets of spared layers, each measured."""
    options = DriftOptions(digital=score, **OPTIONS)
    sweep = Sweep("", (3600.0,), 3, 0, "test_loss", progress=False)
    study = _Study(trainer(), analog, ToyData(samples=150), options, sweep, spare)
    names = list(analog_layers(analog))
    sizes = {name: study.weights(name) for name in names}
    assert score < 0.5  # it has learned; a guess is at 1.1
    sets = [s for k in range(6) for s in itertools.combinations(names, k)]
    return {s: study.a_star(list(s)) for s in sets}, sizes


def _assign(analog, score, target=0.9, spare="digital", **settings):
    options = {"digital": score, **OPTIONS, **settings}
    data = ToyData(samples=150)
    return assign_digital(trainer(), analog, data, target, "1h", 3, spare, **options)


@pytest.mark.parametrize("spare", ["digital", pytest.param("device_noise", marks=pytest.mark.slow)])
def test_set_is_within_one_layer_of_the_true_optimum(analog, score, spare):
    scores, sizes = _every_subset(analog, score, spare)
    weights = {s: sum(sizes[name] for name in s) for s in scores}
    for part in (0.3, 0.6, 0.8):
        # Between the network as it is and the best set.
        low, high = scores[()], max(scores.values())
        target = low + part * (high - low)
        assert low < high - 0.1
        best = min((s for s in scores if scores[s] >= target), key=lambda s: weights[s])
        found = _assign(analog, score, target, spare, evaluations=16)  # half of all sets
        assert found.a_star == pytest.approx(scores[found.names])
        assert found.a_star >= target
        assert found.evaluations <= 16
        assert len(set(found.names) ^ set(best)) <= 1, (found.names, best)
        assert found.share == pytest.approx(weights[found.names] / sum(sizes.values()))


def test_digital_set_is_taken_by_conversion_and_gives_the_score_that_was_measured(
    analog, digital, score
):
    found = _assign(analog, score)
    assert 0 < len(found.names) < 5
    module = copy.deepcopy(digital)
    convert_to_analog(module, LOSSY, exclude=found.exclude)
    assert set(analog_layers(module)) == set(analog_layers(analog)) - set(found.names)
    other = copy.deepcopy(digital)
    convert_to_analog(other, LOSSY, layers=found.layers)
    assert set(analog_layers(other)) == set(analog_layers(module))


def test_noise_is_spared_by_settings_that_conversion_takes(analog, digital, score):
    found = _assign(analog, score, 0.4, "device_noise")
    module = copy.deepcopy(digital)
    convert_to_analog(module, LOSSY, layers=found.layers)
    configs = {name: layer.analog.config for name, layer in analog_layers(module).items()}
    assert found.names
    assert found.exclude == []
    assert {name for name, config in configs.items() if config == quiet(LOSSY)} == set(found.names)
    assert {c for n, c in configs.items() if n not in found.names} == {LOSSY}


@pytest.mark.parametrize(("spare", "target"), [("digital", 0.9), ("device_noise", 0.4)])
def test_yaml_is_read_by_the_cli(analog, score, spare, target, tmp_path):
    found = _assign(analog, score, target, spare)
    callback = {
        "class_path": "aimc_lightning.AnalogTraining", "init_args": yaml.safe_load(found.to_yaml()),
    }  # fmt: skip
    config = {"trainer": {"logger": False, "callbacks": [callback]}}
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(config))
    cli = LightningCLI(
        Deep, ToyData, run=False, args=["--config", str(tmp_path / "fit.yaml")],
        save_config_callback=None, seed_everything_default=0,
    )  # fmt: skip
    (training,) = [cb for cb in cli.trainer.callbacks if isinstance(cb, AnalogTraining)]
    assert list(training.exclude) == found.exclude
    if spare == "device_noise":
        assert training.layers == found.layers


def test_module_stays_as_it_was(analog, score):
    before = state_fingerprint(analog)
    _assign(analog, score, 0.4, "device_noise")
    assert state_fingerprint(analog) == before
    assert analog.net[0].analog.config == LOSSY


def test_finished_rows_are_taken_over(analog, score, tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    first = _assign(analog, score, csv_path=path)
    monkeypatch.setattr(measure, "program_", None)
    assert _assign(analog, score, csv_path=path) == first
    with pytest.raises(ValueError, match="another model, configuration"):
        _assign(analog, score, csv_path=path, seed=1)


def test_outcome_is_said_and_written(analog, score, tmp_path):
    found = _assign(analog, score)
    assert f"sets measured: {found.evaluations}" in str(found)
    assert str(found).count("\n") == found.evaluations == found.__rich__().row_count
    found.to_csv(tmp_path / "sets.csv")
    assert (tmp_path / "sets.csv").read_text().count("\n") == found.evaluations + 1


def test_network_that_needs_nothing_spares_nothing(analog, score):
    found = _assign(analog, score, 0.01)
    assert (found.names, found.share, found.evaluations, found.exclude) == ((), 0.0, 1, [])


def test_nan_on_a_chip_is_an_error_that_names_the_set(analog, score):
    class Sometimes(Callback):
        passes = 0

        def on_test_epoch_end(self, trainer, pl_module):
            self.passes += 1
            pl_module.log("score", float("nan") if self.passes == 5 else 0.5)

    with pytest.raises(ValueError, match=r"score is \[.*nan.*\] with 'digital: net.0'"):
        assign_digital(
            trainer(Sometimes()), analog, ToyData(), 0.9, "1h", 3, metric="score", chance=0.0,
            digital=1.0, progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), [
    ({"target": 0.0}, "target is 0.0"),
    ({"spare": "drift"}, "spare is 'drift'; it must be 'digital' or 'device_noise'"),
    ({"evaluations": 6}, "evaluations is 6; 5 layers need 7 or more"),
    ({"digital": None}, "needs digital=... and chance=... as numbers"),
    ({"target": 1.5}, "sets reaches A\\* = 1.5; the best"),
])  # fmt: skip
def test_impossible_arguments_are_refused(analog, score, settings, message):
    with pytest.raises(ValueError, match=message):
        _assign(analog, score, **settings)


def test_digital_module_is_refused(score):
    with pytest.raises(ValueError, match="no analog layer"):
        _assign(toy(), score)

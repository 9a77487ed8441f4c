"""Recorded training passes give what the passes themselves give."""

import pytest
import torch
from torch import nn

from aimc_lightning.integration import cuda_graph
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.cuda_graph import CudaGraph
from aimc_lightning.integration.schedule import NoiseSchedule
from aimc_lightning.nn.base import analog_tiles
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]
QUIET = NOISY.with_values(
    {"weight_noise.type": "none", "noise.output_std": 0.0, "noise.read_std": 0.0}
)


def _fit(*callbacks, module=None, **settings):
    module = toy() if module is None else module
    torch.manual_seed(1)
    run = trainer(*callbacks, **settings)
    run.fit(module, ToyData())
    return module


def test_nothing_changes_on_a_cpu():
    plain = _fit(AnalogTraining(NOISY))
    ours = _fit(AnalogTraining(NOISY), CudaGraph("net"))
    for key, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
    assert "forward" not in vars(ours.net)


def test_unknown_submodule_is_named_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"CudaGraph\(module='network'\).*name one of net"):
        _fit(AnalogTraining(), CudaGraph("network"))


def test_it_stands_behind_analog_training():
    with pytest.raises(ValueError, match="must stand behind"):
        _fit(CudaGraph("net"), AnalogTraining())


def _steps(monkeypatch, callback, module, epochs=3):
    """Run on the CPU as if it were CUDA; return how often passes were recorded and replayed."""
    calls = {"recorded": 0, "replayed": 0}

    def record(network, inputs, **_):
        calls["recorded"] += 1
        original = network.forward

        def replay(*arguments):
            calls["replayed"] += 1
            return original(*arguments)

        network.forward = replay

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    monkeypatch.setattr(cuda_graph, "_can_record", lambda module: True)
    _fit(AnalogTraining(NOISY, schedule=callback), CudaGraph("net"), module=module, epochs=epochs)
    assert "forward" not in vars(module.net)
    return calls


def test_passes_are_recorded_once_ranges_and_noise_have_settled(monkeypatch):
    module = toy()
    batches = []
    monkeypatch.setattr(
        Toy, "on_train_batch_end", lambda self, *_: batches.append(self.global_step), raising=False
    )
    calls = _steps(monkeypatch, NoiseSchedule(unit="step", ramp=6), module)
    assert calls["recorded"] == 1
    # Ranges take three batches, noise is whole from the sixth on; the seventh shows that it stays,
    # and with the eighth one shape. The last of six batches in an epoch is smaller, not replayed.
    assert len(batches) == 18
    assert calls["replayed"] == 3 + 5


def test_noise_that_changes_again_is_recorded_again(monkeypatch):
    module = toy()
    change = {"at": 13}  # until AnalogTraining sets it back when the next epoch begins

    def end(self, *_):
        if self.global_step == change["at"]:
            for tile in analog_tiles(self).values():
                tile.noise_scale = 0.5

    monkeypatch.setattr(Toy, "on_train_batch_end", end, raising=False)
    assert _steps(monkeypatch, NoiseSchedule(), module, epochs=5)["recorded"] == 3


def test_a_recording_that_fails_is_reported_and_training_goes_on(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fail)
    monkeypatch.setattr(cuda_graph, "_can_record", lambda module: True)
    with pytest.warns(UserWarning, match="'net' are not recorded as CUDA graphs: operation not"):
        _fit(AnalogTraining(NOISY), CudaGraph("net"), epochs=3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("analog", [True, False])
def test_replayed_training_equals_training(analog):
    results = []
    for graph in (True, False):
        torch.manual_seed(0)
        callbacks = [AnalogTraining(QUIET)] if analog else []
        callbacks += [CudaGraph("net")] if graph else []
        module = _fit(*callbacks, module=toy(), epochs=4, accelerator="gpu")
        results.append({key: value.cpu() for key, value in module.state_dict().items()})
    for key, value in results[1].items():
        torch.testing.assert_close(results[0][key], value, rtol=1e-3, atol=1e-4)


class _Text(Toy):
    """A recurrent network with dropout, called with a tensor and a state."""

    def _make(self):
        self.net = nn.LSTM(4, 8, 2, dropout=0.5)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        zero = x.new_zeros(2, 1, 8)
        return self.head(self.net(x.unsqueeze(1), (zero, zero))[0][:, 0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_a_recurrent_network_learns_from_replayed_passes():
    module = _Text()
    before = {key: value.clone() for key, value in module.net.named_parameters()}
    states = []
    recorded = CudaGraph("net")
    original = recorded._record
    recorded._record = lambda network: (original(network), states.append(recorded._network))
    _fit(AnalogTraining(NOISY), recorded, module=module, epochs=4, accelerator="gpu")
    assert states
    assert states[0] is module.net
    after = dict(module.net.named_parameters())
    for key, value in before.items():
        assert torch.isfinite(after[key]).all()
        assert not torch.equal(after[key].cpu(), value)

"""``torch.compile``: no graph break in analog layers, and the results of eager execution."""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import program_, set_time_
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

#: Deterministic, so that compiled and eager numbers can be compared: converters, IR drop, learned
#: input ranges that are set from the first batch.
QUIET = TileConfig().with_values(
    {
        "noise.output_std": 0.0,
        "noise.read_std": 0.0,
        "weight_noise.type": "none",
        "input_range.init_batches": 1,
        "mapping.learn_out_scale": "column",
    }
)


class _Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.layer(x, x, x)[0]


def _case(name, config):
    torch.manual_seed(0)
    if name == "linear":
        model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(16, 6)
    elif name == "conv":
        model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3))
        x = torch.randn(2, 2, 6, 6)
    else:
        model, x = _Attention(), torch.randn(3, 4, 8)
    convert_to_analog(model, config)
    return model, x.requires_grad_()


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def _results(model, run, x):
    """Return outputs of two steps, gradients, and the ranges that were set meanwhile."""
    model.zero_grad()
    x.grad = None
    outputs = [run(x) for _ in range(2)]
    outputs[-1].square().sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    return [*outputs, x.grad, *grads.values(), *model.state_dict().values()]


def _assert_compiles(name, backend, config, train):
    model, x = _case(name, config)
    model.train(train)
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    ours, expected = _results(model, compiled, x), _results(eager, eager, x)
    assert len(ours) == len(expected)
    for mine, reference in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_linear_layers_compile_without_graph_break_to_what_eager_gives():
    _assert_compiles("linear", "aot_eager", QUIET, True)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("config", ["ideal", QUIET], ids=["ideal", "quiet"])
@pytest.mark.parametrize("name", ["linear", "conv", "attention"])
def test_layers_compile_without_graph_break_to_what_eager_gives(name, config, train, backend):
    config = TileConfig.from_dict(config.to_dict()) if config is QUIET else config
    _assert_compiles(name, backend, config, train)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("name", ["linear", "conv", "attention"])
def test_standard_preset_compiles_with_all_its_noise(name, backend):
    model, x = _case(name, "standard_pcm")
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    eager = model(x).detach()
    draws = torch.stack([compiled(x) for _ in range(200)])
    assert draws.std(0).min() > 0  # noise is drawn in each pass, not once at compilation
    draws.mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert (draws.mean(0) - eager).abs().max() < 6 * draws.std(0).max()


@pytest.mark.slow
def test_programmed_chip_compiles():
    model, x = _case("linear", QUIET)
    program_(model.eval(), 0)
    set_time_(model, 3600.0, 0)
    compiled = torch.compile(model, backend="inductor", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_fit_of_a_compiled_module_ends_as_that_of_the_module(backend):
    states = []
    for compiled in (False, True):
        torch.manual_seed(1)
        module = toy()
        whole = torch.compile(module, backend=backend) if compiled else module
        run = trainer(AnalogTraining(QUIET), limit_val_batches=0)
        run.fit(whole, ToyData())
        states.append(module.state_dict())
    assert not counters["graph_break"]
    assert any("analog" in name for name in states[0])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
def test_fit_of_a_compiled_module_trains_with_noise_and_measures_chips():
    module, data = toy(), ToyData()
    run = trainer(AnalogTraining(NOISY), epochs=6)
    run.fit(torch.compile(module), data)
    assert run.validate(module, data, verbose=False)[0]["val_acc"] > 0.5

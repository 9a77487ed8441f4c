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
# Of torch itself behind a graph break; it hides it from users.
pytestmark.append(pytest.mark.filterwarnings("ignore:.*a Tensor that is not a leaf Tensor.*"))
pytestmark.append(
    pytest.mark.skipif(
        torch.__version__.startswith("2.6."), reason="torch 2.6 cannot trace the tile's function"
    )
)

slow = pytest.mark.slow
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


class _Recurrent(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.layer = getattr(nn, name.upper())(6, 5, batch_first=True)

    def forward(self, x):
        return self.layer(x.tanh())[0].relu()


def _case(name, config):
    torch.manual_seed(0)
    if name == "linear":
        model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(16, 6)
    elif name in ("lstm", "gru", "rnn"):
        model, x = _Recurrent(name), torch.randn(3, 4, 6)
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


def _assert_compiles(name, backend, config, train, fullgraph=True):
    model, x = _case(name, config)
    model.train(train)
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, backend=backend, fullgraph=fullgraph)
    ours, expected = _results(model, compiled, x), _results(eager, eager, x)
    assert len(ours) == len(expected)
    for mine, reference in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_linear_layers_compile_without_graph_break_to_what_eager_gives():
    _assert_compiles("linear", "aot_eager", QUIET, True)


@pytest.mark.slow
def test_attention_compiles_without_graph_break_to_what_eager_gives():
    _assert_compiles("attention", "aot_eager", QUIET, True)


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_noise_compiles_with_batches_of_varying_size(backend):
    model, _ = _case("linear", "standard_pcm")
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    for size in (16, 5, 7):  # the second size makes the compiler give up fixed sizes
        draws = torch.stack([compiled(torch.ones(size, 6)) for _ in range(2)])
        assert draws.shape == (2, size, 3)
        assert not torch.equal(*draws)


@pytest.mark.parametrize("name", ["lstm", *(pytest.param(n, marks=slow) for n in ("gru", "rnn"))])
def test_recurrent_layers_run_eagerly_inside_a_compiled_model_with_equal_results(name):
    # torch refuses to trace nn.LSTM, nn.GRU and nn.RNN, and ours are subclasses of them.
    _assert_compiles(name, "aot_eager", QUIET, True, fullgraph=False)
    assert any("RNN" in reason or "LSTM" in reason for reason in counters["graph_break"])


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


@pytest.mark.slow
def test_noise_of_a_compiled_chip_is_another_draw_of_the_same_size():
    # torch cannot trace a generator of one's own, so this breaks the graph where noise is drawn,
    # and eager execution draws it in another order, in its kernels.
    model, x = _case("linear", "standard_pcm")
    program_(model.eval(), 0)
    x, draws = x.detach(), []
    for run in (model, torch.compile(model, backend="eager")):
        set_time_(model, 3600.0, 0)
        draws.append(torch.stack([run(x) for _ in range(100)]))
    (eager, compiled), std = draws, draws[0].std(0)
    assert not torch.equal(eager[0], compiled[0])
    # Means of 100 draws: 48 outputs within 5 standard errors; spreads within 5 of theirs.
    assert ((eager.mean(0) - compiled.mean(0)).abs() < 5 * std * (2 / 100) ** 0.5).all()
    torch.testing.assert_close(compiled.std(0), std, rtol=5 * 100**-0.5, atol=0)
    set_time_(model, 3600.0, 0)
    assert torch.equal(run(x), compiled[0])  # the seed chooses it, as in eager execution


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

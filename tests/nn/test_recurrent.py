"""LSTM, GRU and plain recurrent layers and cells on tiles."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.nn.base import analog_arrays, analog_layers, analog_tiles, program_, set_time_
from aimc_lightning.nn.recurrent import AnalogGRU, AnalogLSTM, AnalogRNN
from aimc_lightning.nn.recurrent_cells import AnalogGRUCell, AnalogLSTMCell, AnalogRNNCell
from aimc_lightning.tiles.sequence import StepProduct
from aimc_lightning.tiles.tile import AnalogTile
from tests.helpers.conformance import STANDARD, TILED, Case, LayerConformance, chip, flat

CASES = {
    "lstm": Case(lambda: nn.LSTM(5, 4), (3, 6, 5), batch_axis=1),
    "lstm, two layers, both ways": Case(
        lambda: nn.LSTM(5, 4, num_layers=2, bidirectional=True), (3, 6, 5), batch_axis=1
    ),
    "lstm, projection": Case(lambda: nn.LSTM(5, 20, proj_size=3), (3, 6, 5), batch_axis=1),
    "lstm, wider than a tile": Case(lambda: nn.LSTM(40, 19, bias=False), (3, 6, 40), batch_axis=1),
    "lstm, batch first": Case(lambda: nn.LSTM(5, 4, batch_first=True), (6, 3, 5)),
    "lstm, unbatched": Case(lambda: nn.LSTM(5, 4), (3, 5), batch_axis=None),
    "lstm, one step": Case(lambda: nn.LSTM(5, 4), (1, 6, 5), batch_axis=1),
    "gru": Case(lambda: nn.GRU(5, 20), (3, 6, 5), batch_axis=1),
    "gru, two layers, both ways": Case(
        lambda: nn.GRU(5, 4, num_layers=2, bidirectional=True, bias=False), (3, 6, 5), batch_axis=1
    ),
    "tanh": Case(lambda: nn.RNN(5, 4, num_layers=2), (3, 6, 5), batch_axis=1),
    "relu": Case(lambda: nn.RNN(5, 4, nonlinearity="relu"), (3, 6, 5), batch_axis=1),
    "lstm cell": Case(lambda: nn.LSTMCell(5, 4), (6, 5)),
    "lstm cell, unbatched": Case(lambda: nn.LSTMCell(5, 4), (5,), batch_axis=None),
    "gru cell": Case(lambda: nn.GRUCell(20, 4), (6, 20)),
    "gru cell, no bias": Case(lambda: nn.GRUCell(5, 4, bias=False), (6, 5)),
    "rnn cell": Case(lambda: nn.RNNCell(5, 4, nonlinearity="relu"), (6, 5)),
}
#: torch, not us.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
LAYERS = {nn.LSTM: AnalogLSTM, nn.GRU: AnalogGRU, nn.RNN: AnalogRNN}
CELLS = {nn.LSTMCell: AnalogLSTMCell, nn.GRUCell: AnalogGRUCell, nn.RNNCell: AnalogRNNCell}
#: The standard model without anything random, over several small tiles.
QUIET = TileConfig().with_values(
    {
        "mapping.max_inputs": 3,
        "mapping.max_outputs": 5,
        "noise.output_std": 0.0,
        "noise.read_std": 0.0,
        "weight_noise.type": "none",
        "input_range.init_batches": 0,
        "input_range.initial": 0.7,
        "input_range.decay": 0.0,  # once for each pass, which a loop cannot show
        "adc.bound": 2.0,
    }
)
SETTINGS = {
    "standard": {},
    "dynamic range": {"input_range.mode": "dynamic"},
    "worst case": {"input_range.noise_management": "abs_max_np_sum"},
    "iterative": {"input_range.bound_management": "iterative"},
    "distorted": {"distortion.out_nonlinearity": 0.3, "distortion.r_series": 0.02},
    "asymmetric": {"dac.asymmetry": 0.1, "adc.asymmetry": 0.05},
    "no converters": {"dac.bits": None, "adc.bits": None},
    "12 bit": {"dac.bits": 12, "adc.bits": 12},
    "tile scales": {"mapping.weight_scaling": "tile", "mapping.learn_out_scale": "tile"},
    "fixed range": {"input_range.mode": "fixed", "mapping.learn_out_scale": None},
}


class TestAnalogRecurrent(LayerConformance):
    @pytest.fixture(params=CASES.values(), ids=list(CASES))
    def case(self, request):
        return request.param

    def test_autocast_sets_the_type_as_in_the_digital_layer(self, case):
        # Always autocast's own type, as torch's layers on a GPU. On a CPU torch's GRU and two of
        # the cells return float32, promoted from the state.
        for model in (case.analog(STANDARD), chip(case.analog(STANDARD), 1)):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert flat(model(case.inputs())).dtype == torch.bfloat16


OPTIONS = list(
    itertools.product(
        (1, 2),  # layers
        (False, True),  # bidirectional
        (False, True),  # batch first
        (False, True),  # bias
        (0, 3),  # projection
        (False, True),  # packed
        (False, True),  # states given
    )
)


def _loss(output, state):
    data = output.data if isinstance(output, PackedSequence) else output
    values = flat((data, state))
    return (values * torch.linspace(-1, 1, len(values), dtype=values.dtype)).sum(), values


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_every_option_equals_the_digital_layer_with_all_gradients(kind):
    torch.manual_seed(0)
    for depth, both, first, bias, projection, packed, given in OPTIONS:
        if projection and kind is not nn.LSTM:
            continue
        more = {"proj_size": projection} if projection else {}
        digital = kind(
            5, 7, depth, bias=bias, batch_first=first, bidirectional=both, **more
        ).double()
        config = TILED.with_values({"mapping.max_inputs": 4})
        analog = LAYERS[kind].from_digital(digital, config)
        assert not analog.bypass
        x = torch.randn(3, 6, 5, dtype=torch.float64, requires_grad=True)
        lengths = torch.tensor([2, 6, 1] if first else [3, 1, 2, 2, 3, 1])
        lead = (depth * (1 + both), 3 if first else 6)
        states = [torch.randn(*lead, size, dtype=torch.float64) for size in (projection or 7, 7)]
        states = [state.requires_grad_() for state in states[: 2 if kind is nn.LSTM else 1]]
        found = []
        for layer in (digital, analog):
            state = (tuple(states) if kind is nn.LSTM else states[0]) if given else None
            rows = pack_padded_sequence(x, lengths, first, False) if packed else x
            loss, values = _loss(*layer(rows, state))
            inputs = [x, *(states if given else []), *digital.parameters()]
            found.append([values, *torch.autograd.grad(loss, inputs)])
        for ours, expected in zip(found[1], found[0], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-11)


def _reference(layer, x):
    """Run an LSTM layer step by step through the tiles as a linear layer would."""
    (array_ih, w_ih), (array_hh, w_hh) = analog_arrays(layer).values()
    prepared = array_hh.prepare(w_hh)
    h = c = x.new_zeros(x.shape[1], layer.hidden_size)
    gates = array_ih(x, w_ih, LinearProduct()) + (layer.bias_ih_l0 + layer.bias_hh_l0)
    outputs = []
    for step in gates:
        i, f, g, o = (step + array_hh(h, w_hh, LinearProduct(), prepared)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), (h[None], c[None])


@pytest.mark.parametrize("hidden", [6, 7])  # tiles of equal and of unequal size
@pytest.mark.parametrize("name", SETTINGS)
def test_loop_equals_the_chain_step_by_step(name, hidden):
    torch.manual_seed(0)
    layer = AnalogLSTM.from_digital(nn.LSTM(5, hidden).double(), QUIET.with_values(SETTINGS[name]))
    x = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        for tile in analog_tiles(layer).values():
            tile.out_scale.mul_(torch.linspace(0.8, 1.3, tile.out_scale.numel()))
    found = []
    for forward in (layer, lambda x: _reference(layer, x)):
        layer.zero_grad()
        x.grad = None
        loss, values = _loss(*forward(x))
        loss.backward()
        named = {key: p.grad for key, p in layer.named_parameters() if p.grad is not None}
        found.append({"y": values.detach(), "x": x.grad, **named})
    assert set(found[0]) == set(found[1])
    for key, expected in found[1].items():
        torch.testing.assert_close(found[0][key], expected, rtol=1e-6, atol=1e-7, msg=key)


def test_chip_equals_the_chain_step_by_step():
    torch.manual_seed(0)
    spread = {
        "distortion.polarity_std": 0.2,
        "distortion.v_offset_std": 0.05,
        "distortion.out_nonlinearity": 0.3,
        "distortion.out_nonlinearity_std": 0.4,
        "distortion.slope_calibration": 0.5,
    }
    for hidden in (6, 7):
        layer = AnalogLSTM.from_digital(nn.LSTM(5, hidden).double(), QUIET.with_values(spread))
        program_(layer.eval(), 1)
        set_time_(layer, 3600.0, 2)
        x = torch.randn(4, 3, 5, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(flat(layer(x)), flat(_reference(layer, x)))


def test_packed_sequences_equal_each_sequence_by_itself():
    torch.manual_seed(0)
    layer = AnalogGRU.from_digital(nn.GRU(5, 6, bidirectional=True).double(), QUIET).eval()
    x, lengths = torch.randn(4, 3, 5, dtype=torch.float64), [2, 4, 1]
    packed, last = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    out, _ = pad_packed_sequence(packed)
    for index, length in enumerate(lengths):
        alone, state = layer(x[:length, index])
        torch.testing.assert_close(out[:length, index], alone)
        torch.testing.assert_close(last[:, index], state)


def test_all_time_steps_share_one_draw_of_weight_noise_and_one_input_product(monkeypatch):
    config = TileConfig().with_values({"input_range.init_batches": 0})
    layer = AnalogLSTM.from_digital(nn.LSTM(5, 6, num_layers=2), config)
    prepared, products = [], []
    prepare, forward = AnalogTile.prepare, AnalogTile.forward
    monkeypatch.setattr(
        AnalogTile, "prepare", lambda tile, *a, **k: prepared.append(tile) or prepare(tile, *a, **k)
    )
    monkeypatch.setattr(
        AnalogTile, "forward", lambda tile, x, *a: products.append(x) or forward(tile, x, *a)
    )
    layer(torch.randn(7, 3, 5))
    assert len(prepared) == len(set(prepared)) == 4  # input and recurrent tile of each layer
    assert [tuple(x.shape) for x in products] == [(21, 5), (21, 6)]  # input tiles only


def test_weight_noise_of_recurrent_tiles_is_drawn_anew_in_each_pass():
    config = QUIET.with_values({"weight_noise.type": "additive", "weight_noise.std": 0.1})
    layer = AnalogLSTM.from_digital(nn.LSTM(5, 6), config)
    with torch.no_grad():
        layer.weight_ih_l0.zero_()
    x = torch.zeros(3, 2, 5)
    assert not torch.equal(layer(x)[0], layer(x)[0])


def test_recurrent_input_range_is_set_once_for_each_pass_from_all_steps():
    torch.manual_seed(0)
    config = QUIET.with_values({
        "input_range.init_rule": "std", "input_range.init_batches": 100, "mapping.max_inputs": 0
    })  # fmt: skip
    layer = AnalogRNN.from_digital(nn.RNN(5, 6).double(), config)
    tile = layer.analog["weight_hh_l0"].tiles[0]
    for batch in range(1, 3):
        before = tile.input_range.item()
        out, _ = layer(torch.randn(4, 3, 5, dtype=torch.float64))
        seen = torch.cat([torch.zeros(1, 3, 6), out[:-1]])  # the inputs of the recurrent product
        expected = (before * (batch - 1) + 3 * seen.std().item()) / batch
        assert tile.range_batches.item() == batch
        assert tile.input_range.item() == pytest.approx(expected, rel=1e-5)


def test_layer_may_run_twice_before_the_backward_pass_while_ranges_are_set():
    layer = AnalogLSTM.from_digital(nn.LSTM(5, 6), TileConfig())
    out, state = layer(torch.randn(4, 3, 5))
    more, _ = layer(torch.randn(4, 3, 5), state)
    (out.sum() + more.sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


def test_backward_twice_needs_a_retained_graph():
    layer = AnalogLSTM.from_digital(nn.LSTM(5, 6), QUIET)
    loss = layer(torch.randn(4, 3, 5))[0].sum()
    loss.backward(retain_graph=True)
    first = layer.weight_hh_l0.grad.clone()
    loss.backward()
    torch.testing.assert_close(layer.weight_hh_l0.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_gradient_of_the_gradient_is_refused_and_not_wrong():
    layer = AnalogLSTM.from_digital(nn.LSTM(5, 6), QUIET)
    x = torch.randn(4, 3, 5, requires_grad=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)


def test_layer_runs_in_inference_mode_with_and_without_a_chip():
    layer = AnalogLSTM.from_digital(nn.LSTM(5, 6), TileConfig()).eval()
    with torch.inference_mode():
        assert layer(torch.randn(4, 3, 5))[0].isfinite().all()
    program_(layer, 1)
    with torch.inference_mode():
        assert layer(torch.randn(4, 3, 5))[0].isfinite().all()


def test_evaluation_keeps_no_record_for_a_gradient(monkeypatch):
    kept = []
    init = StepProduct.__init__
    monkeypatch.setattr(
        StepProduct,
        "__init__",
        lambda *args, keep_record: kept.append(keep_record) or init(*args, keep_record=keep_record),
    )
    layer = AnalogLSTM.from_digital(nn.LSTM(5, 6), TileConfig())
    layer(torch.randn(4, 3, 5))
    with torch.no_grad():
        layer(torch.randn(4, 3, 5))
    assert kept == [True, False]


def test_frozen_weights_get_no_gradient():
    layer = AnalogLSTM.from_digital(nn.LSTM(5, 6, proj_size=2), QUIET)
    for name in ("weight_hh_l0", "weight_hr_l0"):
        getattr(layer, name).requires_grad_(False)
    layer(torch.randn(4, 3, 5))[0].sum().backward()
    assert layer.weight_hh_l0.grad is layer.weight_hr_l0.grad is None
    assert layer.weight_ih_l0.grad.abs().sum() > 0


def test_dropout_acts_between_layers_in_training_only():
    layer = AnalogLSTM.from_digital(nn.LSTM(5, 6, num_layers=2, dropout=0.5), QUIET)
    x = torch.randn(4, 3, 5)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_layer_is_that_of_torch_and_its_state_has_two_arrays_for_each_layer(kind):
    layer = LAYERS[kind].from_digital(kind(5, 6, num_layers=2), TileConfig())
    assert isinstance(layer, kind)
    assert list(layer.analog) == [f"weight_{way}_l{n}" for n in (0, 1) for way in ("ih", "hh")]
    assert "analog.weight_hh_l1.tiles.0.input_range" in layer.state_dict()
    assert list(analog_layers(nn.Sequential(layer))) == ["0"]


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("batched", [True, False])
def test_cell_equals_the_digital_cell_with_all_gradients(kind, batched):
    torch.manual_seed(0)
    digital = kind(5, 7).double()
    analog = CELLS[kind].from_digital(digital, TILED.with_values({"mapping.max_inputs": 4}))
    lead = (3,) if batched else ()
    x, h, c = (torch.randn(*lead, size, dtype=torch.float64).requires_grad_() for size in (5, 7, 7))
    found = []
    for cell in (digital, analog):
        values = flat(cell(x, (h, c) if kind is nn.LSTMCell else h))
        inputs = [x, h, *([c] if kind is nn.LSTMCell else []), *digital.parameters()]
        found.append([values, *torch.autograd.grad(values.square().sum(), inputs)])
    for ours, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("shape", "state", "match"),
    [
        ((2, 3, 4, 5), None, "2 or 3 dimensions, got 4"),
        ((0, 3, 5), None, "at least one time step"),
        ((4, 3, 5), (1, 6), "state must have 3"),
        ((4, 3, 5), (1, 2, 6), "Expected hidden size"),
        ((4, 3, 8), None, "input_size"),
    ],
)
def test_wrong_shapes_are_refused(shape, state, match):
    layer = AnalogGRU.from_digital(nn.GRU(5, 6), TileConfig())
    with pytest.raises((ValueError, RuntimeError), match=match):
        layer(torch.zeros(shape), None if state is None else torch.zeros(state))

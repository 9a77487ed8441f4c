"""``input_range.centred``: means of the inputs never enter the crossbar."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.nn.base import analog_tiles, program_, set_time_
from aimc_lightning.presets import get_preset
from aimc_lightning.tiles.centring import Centring
from tests.helpers.first_batches import trained

CENTRED = {"input_range.centred": True, "input_range.init_batches": 2}
#: Nothing but converters so fine that they are exact to 1e-5, and no clipping.
FINE = (
    get_preset("ideal")
    .with_values({"dac.bits": 20, "input_range.mode": "learned", "input_range.init_rule": "std"})
    .with_values({"input_range.init_std_alpha": 20.0, **CENTRED})
)
STANDARD = get_preset("standard_pcm").with_values(CENTRED)


def _positive(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    offset = 1 + torch.rand(shape[1], generator=generator)
    return torch.rand(*shape, generator=generator) + offset.view(-1, *(1,) * (len(shape) - 2))


LAYERS = [
    (nn.Linear(6, 5), (40, 6)),
    (nn.Linear(700, 5), (40, 700)),  # two tiles
    (nn.Conv2d(4, 6, 3, padding=1), (8, 4, 7, 6)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2), (8, 4, 9, 9)),
    (nn.Conv1d(4, 6, 3, padding="same", bias=False), (8, 4, 9)),
    (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (8, 4, 7, 6)),
    (nn.Conv2d(70, 6, 3, padding=1), (8, 70, 5, 5)),  # two tiles
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_the_product_is_the_digital_one(layer, shape):
    torch.manual_seed(0)
    x = _positive(*shape)
    model = trained(layer, x, FINE)
    for training in (True, False):
        model.train(training)
        torch.testing.assert_close(model(x), layer(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_gradients_are_the_digital_ones(layer, shape):
    torch.manual_seed(0)
    x = _positive(*shape).requires_grad_()
    model = trained(layer, x.detach(), FINE)
    direction = torch.randn_like(layer(x))
    found = torch.autograd.grad((model(x) * direction).sum(), (x, model[0].weight))
    expected = torch.autograd.grad((layer(x) * direction).sum(), (x, layer.weight))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


def test_unfolded_patches_are_centred_too():
    torch.manual_seed(0)
    x, layer = _positive(8, 70, 5, 5), nn.Conv2d(70, 6, 3, padding=1)
    model = trained(layer, x, FINE.with_values({"mapping.conv_split": "unfold"}))
    torch.testing.assert_close(model(x), layer(x), rtol=1e-3, atol=1e-3)


def test_mean_is_that_of_the_inputs_per_channel():
    x = _positive(30, 3, 5, 4)
    model = trained(nn.Conv2d(3, 2, 3), x, STANDARD)
    (tile,) = analog_tiles(model).values()
    torch.testing.assert_close(tile.centring.mean, x.mean((0, 2, 3)))


def test_mean_follows_all_batches_at_first_and_the_last_ones_later():
    centring, weight = Centring(1), torch.ones(1, 1)
    for value in range(10):
        centring(torch.full((4, 1), float(value)), weight, LinearProduct())
    assert centring.mean.item() == pytest.approx(4.5)
    centring(torch.full((4, 1), 14.5), weight, LinearProduct())
    assert centring.mean.item() == pytest.approx(5.5)
    centring.restart_()
    centring(torch.full((4, 1), 2.0), weight, LinearProduct())
    assert centring.mean.item() == 2.0


def test_evaluation_and_empty_batches_leave_the_mean():
    model = trained(nn.Linear(3, 2), _positive(20, 3), STANDARD)
    before = copy.deepcopy(model.state_dict())
    model(torch.zeros(0, 3))
    model.eval()
    model(torch.full((5, 3), 100.0))
    for name, value in model.state_dict().items():
        if name.endswith("centring.mean"):
            assert torch.equal(value, before[name])


def test_a_chip_shifts_its_outputs_less():
    """The mean over samples of the outputs' error, over eight chips one year old."""
    x, layer = _positive(500, 200), nn.Linear(200, 30, bias=False)
    shift = {}
    for centred in (True, False):
        config = STANDARD.with_values({"input_range.centred": centred})
        model = trained(layer, x, config).eval()
        found = []
        for seed in range(8):
            program_(model, seed)
            set_time_(model, 31_536_000.0, seed)
            with torch.no_grad():
                found.append((model(x) - layer(x)).mean(0).square().mean())
        shift[centred] = torch.stack(found).mean().sqrt().item()
    assert shift[True] < 0.2 * shift[False]


def test_a_layer_that_runs_twice_has_a_gradient():
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    model = nn.Sequential(copy.deepcopy(layer))
    convert_to_analog(model, FINE)
    model.train()
    x = _positive(20, 4)
    model(model(x))
    model(model(x)).sum().backward()
    layer(layer(x)).sum().backward()
    torch.testing.assert_close(model[0].weight.grad, layer.weight.grad, rtol=1e-3, atol=1e-2)


def test_autocast_keeps_its_type():
    x = _positive(20, 4)
    model = trained(nn.Linear(4, 3), x, STANDARD).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    ideal = F.linear(x, model[0].weight, model[0].bias)
    torch.testing.assert_close(y.float(), ideal, rtol=0.1, atol=0.3)


def test_means_come_back_from_a_state_dict_and_go_with_the_tiles():
    x = _positive(20, 4)
    model = trained(nn.Linear(4, 3), x, STANDARD)
    other = nn.Sequential(nn.Linear(4, 3))
    convert_to_analog(other, STANDARD)
    other.load_state_dict(model.state_dict())
    means = [next(iter(analog_tiles(m).values())).centring.mean for m in (model, other)]
    assert torch.equal(*means)
    assert means[0].min() > 0
    convert_to_digital(other)
    assert set(other.state_dict()) == {"0.weight", "0.bias"}


@pytest.mark.parametrize(("layer", "shape"), [
    (nn.LSTM(3, 4, num_layers=2, proj_size=2), (5, 2, 3)),
    (nn.GRU(3, 4), (5, 2, 3)),
    (nn.LSTMCell(3, 4), (2, 3)),
])  # fmt: skip
def test_recurrent_matrices_are_not_centred(layer, shape):
    model = nn.Sequential(layer)
    convert_to_analog(model, STANDARD)
    model.train()
    model(_positive(*shape))
    for name, tile in analog_tiles(model).items():
        assert (tile.centring is not None) == ("weight_ih" in name), name


@pytest.mark.parametrize("values", [
    {"input_range.mode": "fixed"},
    {"input_range.mode": "dynamic"},
    {"input_range.noise_management": "abs_max"},
])  # fmt: skip
def test_other_ranges_are_refused(values):
    with pytest.raises(ValueError, match="centred learns the mean"):
        STANDARD.with_values(values)


def test_settings_of_a_trained_array_keep_it():
    model = trained(nn.Linear(4, 3), _positive(20, 4), STANDARD)
    with pytest.raises(ValueError, match=r"input_range\.centred shape what is trained"):
        model[0].analog.set_config_(STANDARD.with_values({"input_range.centred": False}))

import math

import pytest
import torch
from torch import nn

from aimc_lightning.config import InputRangeConfig, TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.layers.products import watched_products
from aimc_lightning.nn.base import analog_layers, program_, set_time_
from aimc_lightning.presets import get_preset


def _statistics(model, x, chip=False):
    model.eval()
    if chip:
        program_(model, 0)
        set_time_(model, 3600.0)
    with torch.no_grad(), watched_products(model) as found:
        model(x)
    return found


@torch.no_grad()
def _quiet(**changes):
    """Settings without noise, so that the analog product can be computed by hand."""
    values = {"noise.output_std": 0.0, "noise.read_std": 0.0, "ir_drop.scale": 0.0}
    return TileConfig().with_values({**values, **changes})


def test_error_and_clipped_share_of_a_linear_layer_are_those_computed_by_hand():
    model = nn.Sequential(nn.Linear(6, 4))
    convert_to_analog(model, _quiet())
    with torch.no_grad():
        model[0].analog.tiles[0].input_range.fill_(1.0)
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    found = _statistics(model, x)["0"]
    with torch.no_grad():
        ideal = nn.functional.linear(x, model[0].weight)
        error = model(x) - model[0].bias - ideal
    assert found.mvm_error == pytest.approx((error.norm() / ideal.norm()).item(), rel=1e-4)
    assert found.signal_to_error_db == pytest.approx(-20 * math.log10(found.mvm_error))
    assert found.clipped_input_share == pytest.approx((x.abs() > 1).float().mean().item())
    assert found.dac_use == pytest.approx(x.clamp(-1, 1).square().mean().sqrt().item(), rel=1e-5)


def test_converters_see_centred_inputs_and_outputs():
    x, mean = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)), torch.arange(6.0)
    shares = []
    for centred in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 4))
        convert_to_analog(model, _quiet(**{"input_range.centred": centred, "adc.bound": 0.5}))
        with torch.no_grad():
            model[0].analog.tiles[0].input_range.fill_(1.0)
        if centred:
            model[0].analog.tiles[0].centring.mean.copy_(mean)
        found = _statistics(model, x + mean if centred else x)["0"]
        shares.append((found.clipped_input_share, found.dac_use, found.clipped_output_share,
                       found.adc_use))  # fmt: skip
    assert shares[1] == pytest.approx(shares[0], rel=1e-4)
    assert 0 < shares[0][2] < 1


def test_use_of_the_adc_is_that_of_its_codes():
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    convert_to_analog(model, _quiet(**{"adc.bound": 2.0}))
    with torch.no_grad():
        model[0].weight.fill_(0.5)  # normalised: 1, with a digital scale of 0.5
        model[0].analog.tiles[0].input_range.fill_(1.0)
        model[0].analog.tiles[0].out_scale.fill_(3.0)
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.0, 0.0]])  # 4, clipped to 2, and 1
    found = _statistics(model, x)["0"]
    assert found.clipped_output_share == 0.5
    assert found.adc_use == pytest.approx(math.sqrt((1 + 0.25) / 2), abs=0.01)


@pytest.mark.parametrize(("layer", "x", "names"), [
    (nn.Conv2d(3, 5, 3, padding=1, groups=1), torch.randn(2, 3, 6, 6), ["0"]),
    (nn.LSTM(4, 3), torch.randn(7, 2, 4), ["0.weight_hh_l0", "0.weight_ih_l0"]),
    (nn.GRU(4, 3, bidirectional=True), torch.randn(7, 2, 4), None),
    (nn.LSTMCell(4, 3), torch.randn(2, 4), ["0.weight_hh", "0.weight_ih"]),
])  # fmt: skip
def test_every_kind_of_layer_is_seen(layer, x, names):
    model = nn.Sequential(layer)
    convert_to_analog(model)
    found = _statistics(model, x, chip=True)
    if names is not None:
        assert sorted(found) == names
    assert all(math.isfinite(sums.adc_use) for sums in found.values())
    # A hidden state of zero has no product; the first step of a cell is one.
    assert all(0.01 < s.mvm_error < 3 for n, s in found.items() if "Cell" not in str(layer))


def test_recurrent_inputs_are_the_hidden_states():
    model = nn.Sequential(nn.RNN(2, 3, bias=False))
    convert_to_analog(model, _quiet())
    x = torch.randn(5, 1, 2, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.no_grad():
        states = model(x)[0][:-1]  # what steps 1 to 4 receive; step 0 receives zeros
        ideal = nn.functional.linear(states, model[0].weight_hh_l0)
    found = _statistics(model, x)["0.weight_hh_l0"]
    assert found.signal == pytest.approx(ideal.square().sum().item(), rel=1e-5)
    assert found.inputs == 5 * 3


def test_tiles_of_one_matrix_are_summed_before_the_error():
    model = nn.Sequential(nn.Linear(40, 4))
    convert_to_analog(model, TileConfig().with_values({"mapping.max_inputs": 16}))
    x = torch.randn(64, 40)
    found = _statistics(model, x, chip=True)["0"]
    assert found.inputs == x.numel()
    assert 0.02 < found.mvm_error < 0.6


def test_ranges_per_vector_leave_shares_of_converters_out():
    model = nn.Sequential(nn.Linear(6, 4))
    convert_to_analog(model, TileConfig(input_range=InputRangeConfig(mode="dynamic")))
    found = _statistics(model, torch.randn(5, 6), chip=True)["0"]
    assert math.isnan(found.clipped_input_share)
    assert math.isnan(found.adc_use)
    assert found.mvm_error > 0


def test_layer_without_a_bound_has_no_use_of_an_adc():
    model = nn.Sequential(nn.Linear(6, 4))
    convert_to_analog(model, get_preset("ideal_converters"))
    found = _statistics(model, torch.randn(5, 6), chip=True)["0"]
    assert math.isnan(found.clipped_output_share)


def test_layer_that_never_ran_has_no_error():
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    convert_to_analog(model)
    model.eval()
    with torch.no_grad(), watched_products(model) as found:
        model["used"](torch.ones(1, 2))
    assert math.isnan(found["idle"].mvm_error)
    assert found["used"].mvm_error > 0


def test_nothing_is_left_behind_after_an_error():
    model = nn.Sequential(nn.Linear(2, 2))
    convert_to_analog(model)
    with pytest.raises(RuntimeError, match="stop"), watched_products(model):
        raise RuntimeError("stop")
    assert all(layer.analog.observer is None for layer in analog_layers(model).values())

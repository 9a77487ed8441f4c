"""Controls over all analog layers of a model."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.nn.base import (
    adopt,
    analog_arrays,
    analog_layers,
    analog_tiles,
    clip_weights_,
    is_analog,
    is_programmed,
    program_,
    redraw_weight_noise_,
    set_noise_scale_,
    set_time_,
    unprogram_,
)
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.tile_config import ClipConfig, WeightNoiseConfig


def _model(config: TileConfig | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 4), nn.Linear(4, 4))
    convert_to_analog(model, config or TileConfig())
    return model


X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def _chip(model: nn.Module, index: int) -> torch.Tensor:
    return analog_arrays(model[index])["weight"][0].tiles[0].chip.weights.weight


def test_layers_are_listed_in_module_order_and_shared_ones_once():
    model = _model()
    model.append(model[2])
    assert list(analog_layers(model)) == ["0", "2", "3"]
    assert [is_analog(module) for module in model] == [True, False, True, True, True]


def test_layers_inside_layers_are_found():
    assert list(analog_layers(nn.ModuleDict({"a": _model()}))) == ["a.0", "a.2", "a.3"]


def test_tiles_are_listed_by_their_full_name():
    assert list(analog_tiles(_model())) == [f"{k}.analog.tiles.0" for k in (0, 2, 3)]


def test_adopted_layer_shares_tensors_but_not_dictionaries():
    layer = nn.Linear(2, 2)
    twin = adopt(layer, AnalogLinear)
    twin.extra = nn.Linear(1, 1)
    twin.register_buffer("more", torch.zeros(1))
    assert twin.weight is layer.weight
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_chip_does_not_depend_on_the_draws_of_other_layers():
    model, wider = _model(), _model()
    wider[0] = nn.Sequential(AnalogLinear.from_digital(nn.Linear(50, 50), TileConfig()))
    program_(model, 7)
    program_(wider, 7)
    assert torch.equal(_chip(model, 2), _chip(wider, 2))


def test_layers_with_equal_weights_get_different_devices():
    model = _model()
    with torch.no_grad():
        model[3].weight.copy_(model[2].weight[:, :4])
        model[2].weight[:, 4:] = 0
    program_(model, 1)
    assert not torch.equal(_chip(model, 2)[:, :4], _chip(model, 3))


@pytest.mark.parametrize("seeds", [(0, 1), (1, 2), (0, 2**31)])
def test_neighbouring_seeds_are_independent_chips(seeds):
    chips = []
    for seed in seeds:
        model = _model()
        with torch.no_grad():
            model[2].weight.fill_(1.0)
        program_(model, seed)
        chips.append(_chip(model, 2).flatten() - 1)
    # 64 devices: the standard error of the correlation is 1/8.
    correlation = torch.corrcoef(torch.stack(chips))[0, 1]
    assert abs(float(correlation)) < 5 / 8


def test_global_generator_is_left_alone():
    model = _model()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    program_(model, 1)
    set_time_(model, 10.0, 1)
    with torch.no_grad():
        model.eval()(X)
    assert torch.equal(torch.rand(1), expected)


def test_programming_needs_analog_layers():
    with pytest.raises(ValueError, match=r"no analog layer; call convert_to_analog\(model\)"):
        program_(nn.Sequential(nn.Linear(2, 2)), 0)


def test_time_needs_a_programmed_model_and_names_the_layer():
    with pytest.raises(ValueError, match=r"Layer '0' was never programmed; call program_"):
        set_time_(_model(), 1.0)


@pytest.mark.parametrize("time_s", [-1.0, float("nan")])
def test_negative_time_is_refused(time_s):
    model = _model()
    program_(model, 0)
    with pytest.raises(ValueError, match=f"The time {time_s} is not possible: it must be a number"):
        set_time_(model, time_s)


@pytest.mark.parametrize("time", ["1d", 86400, np.int64(86400), torch.tensor(86400.0)], ids=repr)
def test_time_may_be_text_or_any_number(time):
    model = _model()
    program_(model, 0)
    set_time_(model, time)
    found = _chip(model, 0)
    set_time_(model, 86400.0)
    assert torch.equal(found, _chip(model, 0))


def test_text_that_is_no_time_is_refused():
    model = _model()
    program_(model, 0)
    with pytest.raises(ValueError, match="Cannot read the time 'tomorrow'"):
        set_time_(model, "tomorrow")


@pytest.mark.parametrize("call", [lambda m: program_(m, 0), lambda m: set_time_(m, 1.0)])
def test_chips_are_refused_in_inference_mode(call):
    model = _model()
    program_(model, 0)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="outside inference mode"):
        call(model)


def test_programmed_model_runs_in_inference_mode():
    model = _model().eval()
    program_(model, 0)
    set_time_(model, 3600.0, 0)
    with torch.inference_mode():
        assert torch.isfinite(model(X)).all()


def test_unprogramming_brings_the_model_back():
    model = _model().eval()
    before = copy.deepcopy(model)
    program_(model, 0)
    assert is_programmed(model)
    unprogram_(model)
    assert not is_programmed(model)
    torch.manual_seed(0)
    expected = before(X)
    torch.manual_seed(0)
    assert torch.equal(model(X), expected)


def test_digital_model_is_not_programmed():
    assert not is_programmed(nn.Linear(2, 2))


@pytest.mark.parametrize("factor", [-0.1, float("nan")])
def test_negative_noise_factor_is_refused(factor):
    with pytest.raises(ValueError, match=f"must not be negative, got {factor}"):
        set_noise_scale_(_model(), factor)


def test_noise_factor_reaches_every_tile():
    model = _model()
    set_noise_scale_(model, 0.5)
    assert {tile.noise_scale for tile in analog_tiles(model).values()} == {0.5}


def test_held_noise_is_forgotten_everywhere():
    noise = WeightNoiseConfig(type="additive", std=0.1, draw="step")
    model = _model(TileConfig(weight_noise=noise))
    tile = next(iter(analog_tiles(model).values()))
    held = tile.prepare(model[0].weight).weights.weight
    assert torch.equal(tile.prepare(model[0].weight).weights.weight, held)
    redraw_weight_noise_(model)
    assert not torch.equal(tile.prepare(model[0].weight).weights.weight, held)


def test_clipping_changes_weights_only_where_configured():
    plain, clipped = _model(), _model(TileConfig(clip=ClipConfig(type="gaussian", sigma=1.0)))
    before = [p.detach().clone() for p in plain.parameters()]
    clip_weights_(plain)
    assert all(map(torch.equal, before, plain.parameters()))
    old = clipped[2].weight.detach().clone()
    clip_weights_(clipped)
    largest = old.abs().amax(1, keepdim=True)
    bound = (old / largest).std() * largest
    torch.testing.assert_close(clipped[2].weight.detach(), old.clamp(-bound, bound))


@pytest.mark.parametrize("split", ["channel", "unfold"])
def test_clipping_reaches_the_weights_of_a_convolution_over_several_tiles(split):
    config = TileConfig(clip=ClipConfig(type="gaussian", sigma=1.0)).with_values(
        {"mapping.max_inputs": 9, "mapping.conv_split": split}
    )
    model = _model(config)
    old = model[0].weight.detach().clone()
    clip_weights_(model)
    largest = old.abs().amax((2, 3), keepdim=True)  # each tile holds one channel
    bound = (old / largest).std((0, 2, 3), keepdim=True) * largest
    torch.testing.assert_close(model[0].weight.detach(), old.clamp(-bound, bound))
    kept = old.abs() < 0.999 * bound
    assert torch.equal(model[0].weight[kept], old[kept])

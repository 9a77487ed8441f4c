import pytest
import torch
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.devices.converters import DualPair, ShapedPair
from aimc_lightning.devices.reram import ReRamWan2022
from aimc_lightning.devices.simple import IdealDevice
from aimc_lightning.evaluation.nonidealities import new_configs
from aimc_lightning.evaluation.programming import optimized_programming
from aimc_lightning.nn.base import program_, set_time_
from aimc_lightning.tile_config import ChipConfig

DAY_S = 86400.0


def _network(config=None, power=3):
    """A layer whose weights are as unequal as those of a trained network."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(256, 64, bias=False)
    with torch.no_grad():
        normal = torch.randn(layer.weight.shape, generator=generator)
        layer.weight.copy_(normal.abs().pow(power) * normal.sign())
    model = nn.Sequential(layer).eval()
    convert_to_analog(model, config or TileConfig())
    return model


@torch.no_grad()
def _error(model, time_s):
    """Mean relative error of the product over four chips."""
    x = torch.randn(32, 256, generator=torch.Generator().manual_seed(1))
    ideal = nn.functional.linear(x, model[0].weight)
    found = []
    for seed in range(4):
        program_(model, seed)
        set_time_(model, time_s, seed)
        found.append(((model(x) - ideal).norm() / ideal.norm()).item())
    return sum(found) / 4


# Measured: 0.205 to 0.198, 0.238 to 0.219, 0.318 to 0.282, on the same chips.
@pytest.mark.parametrize(("time_s", "gain"), [(3600.0, 0.004), (DAY_S, 0.01), (31536000.0, 0.02)])
def test_measured_error_of_the_product_falls(time_s, gain):
    model = _network()
    before = _error(model, time_s)
    with new_configs(optimized_programming(model)):
        after = _error(model, time_s)
    assert after < before - gain


def test_small_weights_are_programmed_above_the_line():
    (config,) = optimized_programming(_network()).values()
    curve = config.chip.converter.curve
    assert all(value > index / 8 for index, value in enumerate(curve[1:8], start=1))


def test_without_compensation_targets_are_not_lowered():
    uncompensated = TileConfig(chip=ChipConfig(compensation="none"))
    model = _network(uncompensated)
    before = _error(model, DAY_S)
    with new_configs(optimized_programming(model, (DAY_S,))):
        assert _error(model, DAY_S) < before - 0.01


def test_ideal_devices_keep_the_straight_line():
    config = TileConfig(chip=ChipConfig(device=IdealDevice(), compensation="none"))
    (found,) = optimized_programming(_network(config)).values()
    assert found.chip.converter.curve == pytest.approx([i / 8 for i in range(9)], abs=2e-3)


def test_times_without_data_are_left_out():
    chip = ChipConfig(device=ReRamWan2022(), compensation="none")
    (found,) = optimized_programming(_network(TileConfig(chip=chip))).values()
    assert isinstance(found.chip.converter, ShapedPair)
    with pytest.raises(ValueError, match="no data for any of the times"):
        optimized_programming(_network(TileConfig(chip=chip)), (5.0,))


@pytest.mark.parametrize("change", [
    {"chip.converter": DualPair(factors=(1, 4))}, {"chip.chain": "collapsed"},
])  # fmt: skip
def test_other_ways_to_hold_a_weight_are_refused(change):
    with pytest.raises(ValueError, match="one pair of devices per weight"):
        optimized_programming(_network(TileConfig().with_values(change)))


def test_collapsed_chain_with_a_curve_is_refused():
    with pytest.raises(ValueError, match="apply the curve of a ShapedPair twice"):
        ChipConfig(chain="collapsed", converter=ShapedPair())

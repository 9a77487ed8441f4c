import pytest
import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.devices.faulty import FaultyDevice
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.evaluation.mvm_error import mvm_error
from aimc_lightning.evaluation.nonidealities import (
    NONIDEALITIES,
    changed_config,
    standard_amount,
)
from tests.helpers.toy import toy

#: What Rasch et al. 2023 raise, figures 4 to 6.
STUDIED = {
    "dac_bits", "adc_bits", "input_noise", "output_noise", "s_shape", "input_asymmetry",
    "output_asymmetry", "voltage_offset", "polarity", "ir_drop", "short_read_noise", "read_noise",
    "programming_noise", "drift", "drift_spread", "stuck_zero", "stuck_g_max", "stuck_random",
}  # fmt: skip
every_effect = pytest.mark.parametrize("effect", NONIDEALITIES.values(), ids=NONIDEALITIES)
FAULTY = TileConfig().with_values(
    {"chip.device": FaultyDevice(device=PCMDevice(drift_scale=2.0), p_zero=0.01)}
)


def test_every_nonideality_of_the_paper_is_there():
    assert set(NONIDEALITIES) == STUDIED


@every_effect
@pytest.mark.parametrize("config", [TileConfig(), FAULTY], ids=["pcm", "faulty"])
def test_standard_amount_is_that_of_the_config(effect, config):
    standard = effect.standard(config)
    raised = effect.apply(config, standard + effect.first)
    assert raised != config
    if not effect.whole:
        assert effect.standard(raised) == standard + effect.first
        assert effect.apply(raised, effect.largest) is not None


@every_effect
def test_large_amount_raises_the_error_of_a_tile(effect):
    config = effect.apply(TileConfig(), effect.largest)
    standard = mvm_error(TileConfig(), 3600.0)
    assert mvm_error(config, 3600.0) > 1.2 * standard


def test_drift_keeps_its_spread():
    device = NONIDEALITIES["drift"].apply(FAULTY, 8.0).chip.device.device
    assert (device.drift_scale, device.drift_spread_scale) == (8.0, 0.25)


def test_effects_that_a_config_lacks_have_no_amount():
    config = TileConfig().with_values({"dac.bits": None})
    assert NONIDEALITIES["dac_bits"].standard(config) is None


def test_layers_that_differ_have_no_common_amount():
    module = toy(hidden=8)
    quiet = TileConfig().with_values({"noise.output_std": 0.0})
    convert_to_analog(module, TileConfig(), layers={"net.0": quiet})
    assert standard_amount(NONIDEALITIES["output_noise"], module) is None
    assert standard_amount(NONIDEALITIES["ir_drop"], module) == 1.0


def test_config_is_put_back_and_trained_ranges_stay():
    module = toy(hidden=8)
    convert_to_analog(module)
    tile = module.net[0].analog.tiles[0]
    with torch.no_grad():
        tile.input_range.fill_(1.5)
    with changed_config(module, lambda c: c.with_values({"adc.bits": 4})):
        assert tile.periphery.adc_steps == 14
        assert tile.input_range.item() == 1.5
    assert tile.periphery.adc_steps == 254


def test_config_is_put_back_after_an_error():
    module = toy(hidden=8)
    convert_to_analog(module)
    values = {"input_range.mode": "fixed"}
    with (
        pytest.raises(ValueError, match="Convert the digital model anew"),
        changed_config(module, lambda c: c.with_values(values)),
    ):
        pass
    assert module.net[0].analog.config == TileConfig()

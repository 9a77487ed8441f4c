import pytest
import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.tile_config import ChipConfig, WeightNoiseConfig
from aimc_lightning.tiles.device_noise import device_weight_noise
from aimc_lightning.tiles.programmed import ProgrammedTile
from aimc_lightning.tiles.tile import AnalogTile, build_periphery

_YEAR_S = 31_536_000.0


def _grid(rows: int) -> torch.Tensor:
    return torch.linspace(-1, 1, 9).expand(rows, 9).contiguous()


def test_ideal_devices_disturb_nothing():
    device = PCMDevice(prog_noise_scale=0.0, drift_scale=0.0, read_noise_scale=0.0)
    weight = _grid(2)
    noisy = device_weight_noise(weight, ChipConfig(device=device), [2], 3600.0)
    torch.testing.assert_close(noisy, weight, atol=1e-6, rtol=0)


@pytest.mark.parametrize("t_inference_s", [0.0, 3600.0, _YEAR_S])
def test_statistics_are_those_of_programmed_chips(t_inference_s):
    # 20,000 draws of each weight: five standard errors are 3.6 % of a standard deviation, two
    # independent estimates of it differ by at most 3.6 % as well.
    rows = 20_000
    config = TileConfig().with_values({"chip.compensation": "none"})
    weight = _grid(rows)
    generator = torch.Generator().manual_seed(1)
    noisy = device_weight_noise(weight, config.chip, [rows], t_inference_s, generator=generator)
    chip = ProgrammedTile(weight, build_periphery(config), config, [rows], generator)
    chip.set_time_(t_inference_s, generator)
    real = chip.weights.weight
    std = real.std(0)
    assert ((noisy.mean(0) - real.mean(0)).abs() < 0.05 * std).all()
    assert ((noisy.std(0) / std - 1).abs() < 0.036).all()


def test_compensation_keeps_the_mean_magnitude():
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    generator = torch.Generator().manual_seed(1)
    noisy = device_weight_noise(weight, ChipConfig(), [32, 32], _YEAR_S, generator=generator)
    for part, original in zip(noisy.split(32), weight.split(32), strict=True):
        assert float(part.abs().mean()) == pytest.approx(float(original.abs().mean()), rel=0.05)


def test_scale_multiplies_the_deviation():
    weight = _grid(3)
    draws = [
        device_weight_noise(
            weight, ChipConfig(), [3], 0.0, scale, generator=torch.Generator().manual_seed(2)
        )
        for scale in (1.0, 2.0)
    ]
    torch.testing.assert_close(draws[1] - weight, 2 * (draws[0] - weight))


def test_tile_in_training_sees_the_device_and_in_evaluation_does_not():
    noise = WeightNoiseConfig(type="device", std=1.0, t_inference_s=3600.0)
    tile = AnalogTile([4], TileConfig(weight_noise=noise))
    weight = torch.randn(4, 8, generator=torch.Generator().manual_seed(3))
    first, second = tile.prepare(weight), tile.prepare(weight)
    assert not torch.equal(first.weights.weight, second.weights.weight)
    tile.eval()
    assert torch.equal(tile.prepare(weight).weights.weight, tile.prepare(weight).weights.weight)

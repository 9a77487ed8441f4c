import pytest
import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.devices.converters import NPair, SinglePair
from aimc_lightning.devices.hermes import HermesDevice
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.devices.reram import ReRamWan2022
from aimc_lightning.functional import kernels
from aimc_lightning.tile_config import ChipConfig, WeightNoiseConfig
from aimc_lightning.tiles.device_noise import device_weight_noise, share_left
from aimc_lightning.tiles.periphery import build_periphery
from aimc_lightning.tiles.programmed import ProgrammedTile
from aimc_lightning.tiles.tile import AnalogTile

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


@pytest.mark.parametrize("compensation", ["global", "column"])
def test_share_left_is_what_the_read_out_of_a_chip_makes_up_for(compensation):
    config = TileConfig().with_values({"chip.compensation": compensation})
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(100, 100, generator=generator) * 2 - 1
    chip = ProgrammedTile(weight, build_periphery(config), config, [100], generator)
    chip.set_time_(_YEAR_S, generator)
    share = share_left(config.chip, _YEAR_S)
    assert 1 / share == pytest.approx(float(chip.compensation.mean()), rel=0.03)
    assert share_left(config.chip, 0.0) == 1


def test_share_left_is_one_without_compensation_or_data():
    assert share_left(ChipConfig(compensation="none"), _YEAR_S) == 1
    assert share_left(ChipConfig(device=ReRamWan2022()), _YEAR_S) == 1


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


@pytest.mark.parametrize("compensation", ["none", "global", "column", "exact"])
@pytest.mark.parametrize("t_inference_s", [0.0, 3600.0, _YEAR_S])
def test_kernel_computes_what_the_chain_does(compensation, t_inference_s, monkeypatch):
    # Drift alone, without any draw: each weight has its own exponent.
    device = PCMDevice(prog_noise_scale=0.0, drift_spread_scale=0.0, read_noise_scale=0.0)
    chip = ChipConfig(device=device, compensation=compensation)
    weight = torch.randn(40, 65, generator=torch.Generator().manual_seed(0)).clamp(-1.5, 1.5)
    weight[3] = 0.0
    found = []
    for serves in (True, False):
        monkeypatch.setattr(kernels, "HAS_CPU_KERNELS", serves)
        found.append(device_weight_noise(weight, chip, [30, 10], t_inference_s))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("change", [
    {"prog_noise_scale": 2.0}, {"prog_coeff": (0.5, 1.0)}, {"prog_coeff_g_max_us": 50.0},
    {"drift_scale": 2.0}, {"drift_spread_scale": 3.0}, {"read_noise_scale": 3.0},
    {"nu_mean_law": (0.02, 0.1, 0.01, 0.3)}, {"nu_std_law": (0.01, 0.05, 0.001, 0.2)},
    {"read_noise_law": (0.03, 0.2, 0.5, 0.04)}, {"t_0_s": 2.0}, {"t_read_s": 1e-3},
])  # fmt: skip
def test_kernel_follows_every_field_of_the_device(change, monkeypatch):
    # 20,000 draws of each weight; a standard deviation is known to 0.5 %, both within 3.6 %.
    rows = 20_000
    chip = ChipConfig(device=PCMDevice(**change), compensation="none")
    weight = _grid(rows)
    generator = torch.Generator().manual_seed(1)
    found = []
    for serves in (True, False):
        monkeypatch.setattr(kernels, "HAS_CPU_KERNELS", serves)
        found.append(device_weight_noise(weight, chip, [rows], 86_400.0, generator=generator))
    ours, chain = found
    std = chain.std(0)
    assert ((ours.mean(0) - chain.mean(0)).abs() < 0.05 * std).all()
    # Around zero the distribution has heavy tails, so its deviation is known less well.
    tolerance = torch.where(weight[0].abs() < 0.1, 0.11, 0.036)
    assert ((ours.std(0) / std - 1).abs() < tolerance).all()


def test_devices_of_a_pair_and_all_weights_are_independent():
    n = 50_000
    chip = ChipConfig(compensation="none")
    weight = torch.full((n, 3), 0.5)
    weight[0, 0] = 1.0  # the largest of the crossbar
    z = device_weight_noise(weight, chip, [n], 0.0, generator=torch.Generator().manual_seed(3))
    z = (z - z.mean(0)) / z.std(0)
    for a, b in ((z[:, 0], z[:, 1]), (z[:, 1], z[:, 2]), (z[1:, 0], z[:-1, 0])):
        assert abs(float((a * b).mean())) < 5 / n**0.5


@pytest.mark.parametrize("chip", [
    ChipConfig(device=PCMDevice(prog_coeff=(0.1, 0.2, 0.3, 0.4))),
    ChipConfig(converter=NPair()),
    ChipConfig(converter=SinglePair(g_min_us=1.0)),
    ChipConfig(device=HermesDevice()),
], ids=["four coefficients", "two pairs", "minimum", "other device"])  # fmt: skip
def test_other_chips_take_the_chain(chip, monkeypatch):
    monkeypatch.setattr(kernels, "hold_on_pcm", None)
    assert device_weight_noise(_grid(2), chip, [2], 3600.0).isfinite().all()
    with pytest.raises(TypeError):
        device_weight_noise(_grid(2), ChipConfig(), [2], 3600.0)


def test_the_same_generator_gives_the_same_weights():
    draws = [
        device_weight_noise(
            _grid(9), ChipConfig(), [4, 5], 3600.0, generator=torch.Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])

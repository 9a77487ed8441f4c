import pytest
import torch

from aimc_lightning.devices.converters import SinglePair
from aimc_lightning.devices.faulty import FaultyDevice
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.devices.reram import ReRamCMO, ReRamWan2022
from aimc_lightning.devices.simple import IdealDevice
from tests.helpers.statistics import generator

DRAWS = 200_000
YEAR_S = 365 * 86400.0


@pytest.mark.parametrize("healthy", [PCMDevice(), ReRamWan2022(), ReRamCMO(), IdealDevice()])
def test_stuck_devices_keep_their_conductance(healthy):
    device = FaultyDevice(device=healthy, p_zero=0.2, p_g_max=0.3)
    g = torch.full((1000,), 20.0)
    g_prog, nu = device.program_chip(g, generator=generator())
    stuck = nu < 0
    assert 0.4 < stuck.float().mean() < 0.6
    assert set(g_prog[stuck].tolist()) == {0.0, torch.tensor(healthy.g_max_us).item()}
    read = device.read(g_prog, nu, g, 86400.0, generator=generator())
    assert torch.equal(read[stuck], g_prog[stuck])


def test_healthy_devices_follow_the_healthy_device():
    device = FaultyDevice(device=PCMDevice(read_noise_scale=0.0), p_zero=0.2)
    g = torch.full((1000,), 20.0)
    g_prog, nu = device.program_chip(g, generator=generator())
    read = device.read(g_prog, nu, g, YEAR_S)
    healthy = nu >= 0
    expected = device.device.read(g_prog, nu, g, YEAR_S)
    assert torch.equal(read[healthy], expected[healthy])
    assert (read[healthy] < g_prog[healthy]).all()


def test_shares_follow_the_probabilities():
    # 200 000 draws, bound 5 standard errors of a binomial share
    device = FaultyDevice(device=IdealDevice(), p_zero=0.01, p_g_max=0.02, p_random=0.03)
    g_prog = device.program(torch.full((DRAWS,), 3.0), generator=generator())
    for share, p in ((g_prog == 0, 0.01), (g_prog == 25, 0.02), (g_prog != 3, 0.06)):
        assert abs(share.double().mean().item() - p) < 5 * (p * (1 - p) / DRAWS) ** 0.5


def test_without_faults_it_is_the_healthy_device():
    g = torch.linspace(0, 25, 50)
    ours = FaultyDevice(device=PCMDevice()).program_chip(g, generator=generator())
    healthy = PCMDevice().program_chip(g, generator=generator())
    assert all(torch.equal(a, b) for a, b in zip(ours, healthy, strict=True))


def test_healthy_device_may_be_given_as_a_dict():
    assert FaultyDevice(device={"name": "pcm", "g_max_us": 40.0}).g_max_us == 40.0


def test_times_and_converters_are_those_of_the_healthy_device():
    with pytest.raises(ValueError, match="has data for"):
        FaultyDevice(device=ReRamWan2022()).check_time(5.0)
    with pytest.raises(ValueError, match="use SingleDevice"):
        FaultyDevice(device=ReRamCMO()).check_converter(SinglePair())


@pytest.mark.parametrize("field", ["p_zero", "p_g_max", "p_random"])
def test_negative_probability_is_refused(field):
    with pytest.raises(ValueError, match=f"FaultyDevice.{field} is -0.1"):
        FaultyDevice(device=PCMDevice(), **{field: -0.1})


def test_probabilities_above_one_are_refused():
    with pytest.raises(ValueError, match=r"must sum to at most 1, not 1\.2"):
        FaultyDevice(device=PCMDevice(), p_zero=0.6, p_g_max=0.6)


def test_device_that_is_none_is_refused():
    with pytest.raises(TypeError, match="must be a healthy device"):
        FaultyDevice(device="pcm")


def test_faults_upon_faults_are_refused():
    with pytest.raises(TypeError, match="must be a healthy device"):
        FaultyDevice(device=FaultyDevice(device=PCMDevice()))

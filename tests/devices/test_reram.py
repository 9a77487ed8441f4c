import math

import numpy as np
import pytest
import torch

from aimc_lightning.devices.converters import SingleDevice, SinglePair
from aimc_lightning.devices.reram import ReRamCMO, ReRamWan2022
from tests.helpers import reference
from tests.helpers.statistics import assert_moments, generator, repeated

DAY_S = 86400.0


@pytest.mark.parametrize("time_s", [1.0, DAY_S, 2 * DAY_S])
def test_wan2022_read_is_drawn_around_the_target(time_s):
    # 200 000 draws per point, bound 5 standard errors
    g = np.array([0.0, 4.0, 20.0, 40.0])
    many = repeated(g.tolist())
    nothing = torch.zeros_like(many)
    ours = ReRamWan2022().read(nothing, nothing, many, time_s, generator=generator())
    std = reference.wan2022_std(g, 40.0, time_s)
    assert_moments(ours, *reference.clamped_normal(g, std))


def test_wan2022_programming_is_as_at_the_first_time():
    g = torch.linspace(0, 40, 9)
    device = ReRamWan2022()
    read = device.read(g, g, g, 1.0, generator=generator())
    assert torch.equal(device.program(g, generator=generator()), read)


def test_wan2022_at_time_zero_keeps_what_was_programmed():
    g = torch.rand(5)
    assert torch.equal(ReRamWan2022().read(g, g, torch.zeros(5), 0.0), g)


def test_wan2022_without_noise_returns_the_target():
    g = torch.rand(5)
    device = ReRamWan2022(noise_scale=0.0)
    assert torch.equal(device.program(g), g)
    assert torch.equal(device.read(torch.zeros(5), g, g, DAY_S), g)


def test_wan2022_names_the_times_with_data():
    with pytest.raises(ValueError, match=r"t_inference_s is 3600.0, .* for 1, 86400, 172800 s"):
        ReRamWan2022().check_time(3600.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times_s": (1.0, 1.0, 2.0)}, "positive and increasing"),
        ({"times_s": (0.0, 1.0, 2.0)}, "positive and increasing"),
        ({"times_s": (1.0,)}, "has 3 polynomials, but times_s has 1"),
        ({"noise_scale": -1.0}, "not negative"),
        ({"g_max_us": 0.0}, "positive"),
    ],
)
def test_wan2022_fields_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ReRamWan2022(**changes)


@pytest.mark.parametrize(
    ("percent", "c0", "c1"), [(0.2, 0.00081107, 0.00106879), (2, 0.0112185, 0.0112903)]
)
def test_cmo_programming_follows_its_law(percent, c0, c1):
    # 200 000 draws per point, bound 5 standard errors; 0.1 % for the rounded constants
    g = np.array([9.0, 40.0, 88.0])
    device = ReRamCMO(acceptance_percent=percent)
    many = repeated(g.tolist()).double()
    ours = device.program(many, generator=generator())
    assert_moments(ours, g, c0 + c1 * g)


def test_cmo_relaxation_and_read_noise_follow_their_law():
    # 200 000 draws, bound 5 standard errors; 48 uS lies far from both limits
    many = repeated([48.0]).double()
    ours = ReRamCMO().read(many, many, many, DAY_S, generator=generator())
    log = math.log(DAY_S)
    mean = 48.0 - 0.08900206 * log
    relaxation = 0.04201137 * log + 0.41183342
    read = 0.0277316483 * math.log10(mean) * reference.growth(DAY_S, 1e-6)
    assert_moments(ours, mean, math.hypot(relaxation, read))


def test_cmo_stays_within_its_limits():
    many = repeated([9.0, 88.19]).double()
    ours = ReRamCMO().read(many, many, many, DAY_S, generator=generator())
    assert ours.min().item() == 9.0
    assert ours.max().item() == pytest.approx(88.199997)


def test_cmo_without_scales_is_ideal_but_for_nothing():
    g = torch.linspace(9, 88, 5)
    device = ReRamCMO(prog_noise_scale=0.0, drift_scale=0.0, read_noise_scale=0.0)
    assert torch.equal(device.program(g), g)
    assert torch.equal(device.read(g, g, g, DAY_S), g)


def test_cmo_spread_of_the_relaxation_is_separate_from_its_mean():
    g = torch.full((3,), 48.0, dtype=torch.float64)
    device = ReRamCMO(drift_spread_scale=0.0, read_noise_scale=0.0)
    assert device.read(g, g, g, DAY_S)[0].item() == pytest.approx(48 - 0.08900206 * math.log(DAY_S))


def test_cmo_at_time_zero_keeps_what_was_programmed():
    g = torch.rand(5)
    assert torch.equal(ReRamCMO().read(g, g, g, 0.0), g)


def test_cmo_refuses_times_below_one_second():
    with pytest.raises(ValueError, match="data from 1 s on"):
        ReRamCMO().check_time(0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"acceptance_percent": 1.0}, "data for 0.2 and 2 percent only"),
        ({"g_min_us": 100.0}, "must be below g_max_us"),
        ({"t_read_s": 0.0}, "positive"),
        ({"read_noise_scale": -1.0}, "not negative"),
    ],
)
def test_cmo_fields_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ReRamCMO(**changes)


def test_cmo_refuses_a_converter_below_its_smallest_conductance():
    ReRamCMO().check_converter(SingleDevice())
    with pytest.raises(ValueError, match=r"from 0.0 uS, .* use SingleDevice\(g_min_us=9.0\)"):
        ReRamCMO().check_converter(SinglePair())

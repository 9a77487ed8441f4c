import math

import numpy as np
import pytest
import torch

from aimc_lightning.devices.simple import IdealDevice, StateIndependentDevice
from tests.helpers import reference
from tests.helpers.statistics import assert_moments, generator, repeated


def test_ideal_device_changes_nothing_at_any_time():
    g = torch.rand(10)
    g_prog, nu = IdealDevice().program_chip(g)
    assert torch.equal(g_prog, g)
    assert (nu == 0).all()
    assert torch.equal(IdealDevice().read(g_prog, nu, g, 1e9), g)


def test_ideal_device_needs_a_positive_g_max():
    with pytest.raises(ValueError, match="finite and positive"):
        IdealDevice(g_max_us=-1.0)


@pytest.mark.parametrize("g_max", [25.0, 50.0])
def test_state_independent_noise_is_the_same_everywhere(g_max):
    # 200 000 draws per point, bound 5 standard errors
    device, g = StateIndependentDevice(g_max_us=g_max), np.array([0.0, 1.0, 20.0])
    many = repeated(g.tolist())
    law = reference.clamped_normal(g, np.full(3, 0.2))
    assert_moments(device.program(many, generator=generator()), *law)
    law = reference.folded_normal(np.full(3, 0.1), np.full(3, 0.05))
    assert_moments(device.draw_drift(many, generator=generator()), *law)


def test_state_independent_read_noise_is_relative_to_g_max():
    # 200 000 draws per point, bound 5 standard errors; t = 100 s
    g = np.array([5.0, 20.0])
    many = repeated(g.tolist())
    ours = StateIndependentDevice().read(
        many, torch.zeros_like(many), many, 80.0, generator=generator()
    )
    growth = math.sqrt(math.log((100 + 250e-9) / 500e-9))
    assert_moments(ours, *reference.clamped_normal(g, g / 25 * growth))


@pytest.mark.parametrize("field", ["nu_mean", "nu_std"])
def test_state_independent_refuses_negative_exponents(field):
    with pytest.raises(ValueError, match=f"{field} is -0.1"):
        StateIndependentDevice(**{field: -0.1})

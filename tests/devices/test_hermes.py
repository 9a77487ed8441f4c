import numpy as np
import pytest
import torch

from aimc_lightning.devices.hermes import HermesDevice
from tests.helpers import reference

LIMITS = {1: (10.35, 200.0), 2: (20.7, 300.0)}


@pytest.mark.parametrize("devices", [1, 2])
def test_defaults_depend_on_the_number_of_devices(devices):
    device = HermesDevice(num_devices=devices)
    assert (device.g_max_us, device.t_0_s) == LIMITS[devices]
    assert device.t_read_s == 512e-9


@pytest.mark.parametrize("devices", [1, 2])
def test_programming_and_mean_drift_agree_with_the_reference(devices):
    device = HermesDevice(num_devices=devices, drift_spread_scale=0.0)
    g = torch.linspace(0, device.g_max_us, 60, dtype=torch.float64)
    expected = reference.hermes_programming_std(g.numpy(), devices)
    np.testing.assert_allclose(device.programming_std_us(g), expected, rtol=1e-13)
    expected = reference.hermes_drift(g.numpy(), device.g_max_us)
    np.testing.assert_allclose(device.draw_drift(g), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("devices", "r", "std", "strength"),
    [
        # Values of the published piecewise fits, computed by hand on both sides of each split.
        (1, 0.1, -0.0120 * np.log(0.1) - 0.0023, -0.0078 * np.log(0.1) + 0.0038),
        (1, 1.0, 0.0055, 0.0168),
        (2, 0.1, -0.0117 * np.log(0.1) - 0.0057, -0.0117 * np.log(0.1) - 0.0069),
        (2, 1.0, 0.0048, 0.0123),
        (1, 0.0, 0.04, 0.04),
        (2, 0.0, 0.04, 0.04),
    ],
)
def test_spread_and_read_noise_on_both_branches(devices, r, std, strength):
    device = HermesDevice(num_devices=devices)
    relative = torch.tensor([r], dtype=torch.float64)
    assert device.exponent_statistics(relative)[1].item() == pytest.approx(std, abs=1e-12)
    assert device.read_noise_strength(relative).item() == pytest.approx(strength, abs=1e-12)


def test_conductance_beyond_the_characterised_range_is_refused():
    with pytest.raises(ValueError, match=r"characterised up to 10.35 uS with num_devices=1"):
        HermesDevice(num_devices=1, g_max_us=20.7)


@pytest.mark.parametrize("devices", [0, 3, True, "2"])
def test_other_numbers_of_devices_are_refused(devices):
    with pytest.raises(ValueError, match="the chip has 1 or 2"):
        HermesDevice(num_devices=devices)

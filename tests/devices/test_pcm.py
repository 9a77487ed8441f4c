import numpy as np
import pytest
import torch

from aimc_lightning.devices.converters import CustomPair, SinglePair
from aimc_lightning.devices.pcm import CustomDriftDevice, PCMDevice
from tests.helpers import reference
from tests.helpers.statistics import assert_moments, generator, repeated

YEAR_S = 365 * 86400.0
TARGETS = [0.0, 0.05, 0.5, 2.0, 10.0, 25.0]
G = torch.linspace(0, 25, 30, dtype=torch.float64)
TABLE = {"g_table_us": (0.0, 25.0), "nu_mean_table": (0.1, 0.05), "nu_std_table": (0.04, 0.01)}


@pytest.mark.parametrize("g_max", [25.0, 40.0])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_programming_std_agrees_with_the_reference(g_max, scale):
    ours = PCMDevice(g_max_us=g_max, prog_noise_scale=scale).programming_std_us(G)
    np.testing.assert_allclose(ours, reference.programming_std(G.numpy(), g_max, scale), rtol=1e-14)


def test_own_polynomial_refers_to_the_own_g_max_unless_told_otherwise():
    own = PCMDevice(g_max_us=40.0, prog_coeff=(0.5,))
    told = PCMDevice(g_max_us=40.0, prog_coeff=(0.5,), prog_coeff_g_max_us=20.0)
    assert own.programming_std_us(torch.zeros(1)).item() == 0.5
    assert told.programming_std_us(torch.zeros(1)).item() == 1.0


def test_programming_follows_its_law():
    # 200 000 draws per point, bound 5 standard errors
    ours = PCMDevice().program(repeated(TARGETS), generator=generator())
    g = np.array(TARGETS)
    assert_moments(ours, *reference.clamped_normal(g, reference.programming_std(g, 25.0)))


@pytest.mark.parametrize("drift_scale", [1.0, 0.5])
def test_exponents_follow_their_law(drift_scale):
    # 200 000 draws per point, bound 5 standard errors
    device = PCMDevice(drift_scale=drift_scale)
    ours = device.draw_drift(repeated(TARGETS), generator=generator())
    mean, std = reference.folded_normal(*reference.drift_mean_and_std(np.array(TARGETS), 25.0))
    assert_moments(ours, mean * drift_scale, std * drift_scale)


def test_spread_of_exponents_scales_without_their_mean():
    mean, std = reference.drift_mean_and_std(G.numpy(), 25.0)
    none = PCMDevice(drift_spread_scale=0.0).draw_drift(G)
    np.testing.assert_allclose(none, mean, rtol=1e-13)
    # 200 000 draws per point, bound 5 standard errors
    twice = PCMDevice(drift_spread_scale=2.0)
    ours = twice.draw_drift(repeated([10.0, 25.0]), generator=generator())
    mean, std = reference.drift_mean_and_std(np.array([10.0, 25.0]), 25.0)
    assert_moments(ours, *reference.folded_normal(mean, 2 * std))


@pytest.mark.parametrize("time_s", [0.0, 1.0, YEAR_S])
def test_read_follows_its_law(time_s):
    # 200 000 draws per point, bound 5 standard errors; drift of a fixed exponent
    g = np.array([0.05, 0.5, 2.0, 10.0, 25.0])
    many = repeated(g.tolist())
    ours = PCMDevice().read(many, torch.full_like(many, 0.06), many, time_s, generator=generator())
    drifted = reference.drifted(g, 0.06, time_s)
    law = reference.clamped_normal(drifted, reference.read_std(drifted, g, 25.0, time_s))
    assert_moments(ours, *law)


def test_device_without_any_noise_only_drifts():
    device = PCMDevice(prog_noise_scale=0.0, read_noise_scale=0.0, drift_spread_scale=0.0)
    g_prog, nu = device.program_chip(G)
    assert torch.equal(g_prog, G)
    expected = reference.drifted(G.numpy(), nu.numpy(), YEAR_S)
    np.testing.assert_allclose(device.read(g_prog, nu, G, YEAR_S), expected, rtol=1e-13)


def test_drift_scale_zero_switches_drift_off():
    assert (PCMDevice(drift_scale=0.0).draw_drift(G) == 0).all()


def test_own_laws_replace_the_fitted_ones():
    device = PCMDevice(
        nu_mean_law=(0.0, 0.07, 0.0, 1.0),
        nu_std_law=(0.0, 0.0, 0.0, 0.0),
        read_noise_law=(0.01, 0.0, 1.0, 0.2),
    )
    assert torch.allclose(device.draw_drift(G), torch.full_like(G, 0.07))
    assert torch.allclose(device.read_noise_strength(G), torch.full_like(G, 0.01))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("g_max_us", 0.0, r"PCMDevice.g_max_us is 0.0, but it must be finite and positive"),
        ("g_max_us", float("inf"), "finite and positive"),
        ("t_0_s", -1, "finite and positive"),
        ("t_read_s", 0, "finite and positive"),
        ("prog_noise_scale", -1.0, "finite and not negative"),
        ("drift_scale", float("nan"), "finite and not negative"),
        ("drift_spread_scale", -0.1, "finite and not negative"),
        ("read_noise_scale", -0.1, "finite and not negative"),
        ("prog_coeff", (), "prog_coeff has 0 entries"),
        ("prog_coeff", (0.1, float("nan")), "every entry must be finite"),
        ("prog_coeff_g_max_us", 0.0, "finite and positive"),
        ("nu_mean_law", (1.0, 2.0), "nu_mean_law has 2 entries, but it must have 4"),
        ("nu_std_law", (0.0, 0.0, 0.5, 0.1), r"clips to \[0.5, 0.1\]"),
        ("read_noise_law", (0.1, 0.5, 0.0, 0.2), "the floor must be positive"),
    ],
)
def test_field_out_of_range_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        PCMDevice(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("g_max_us", "25"), ("drift_scale", True)])
def test_field_of_another_type_is_refused(field, value):
    with pytest.raises(TypeError, match=rf"PCMDevice.{field} is .* must be a number"):
        PCMDevice(**{field: value})


def test_polynomial_that_is_no_list_is_refused():
    with pytest.raises(TypeError, match="must be a list of numbers"):
        PCMDevice(prog_coeff="0.1")


def test_custom_drift_table_is_interpolated():
    device = CustomDriftDevice(**TABLE, drift_spread_scale=0.0)
    expected = np.interp(G.numpy(), [0, 25], [0.1, 0.05])
    np.testing.assert_allclose(device.draw_drift(G), expected, rtol=1e-13)


def test_custom_drift_follows_its_law():
    # 200 000 draws per point, bound 5 standard errors
    device = CustomDriftDevice(**TABLE)
    ours = device.draw_drift(repeated([0.0, 12.5, 25.0]), generator=generator())
    law = reference.folded_normal(np.array([0.1, 0.075, 0.05]), np.array([0.04, 0.025, 0.01]))
    assert_moments(ours, *law)


def test_custom_drift_shares_programming_and_read_noise_with_pcm():
    ours, pcm = CustomDriftDevice(**TABLE), PCMDevice()
    assert torch.equal(ours.programming_std_us(G), pcm.programming_std_us(G))
    assert torch.equal(ours.read_noise_strength(G / 25), pcm.read_noise_strength(G / 25))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"g_table_us": (0.0, 0.0)}, "strictly increasing"),
        ({"g_table_us": (-1.0, 5.0)}, "strictly increasing and not negative"),
        ({"g_table_us": (0.0, 5.0, 6.0)}, "nu_mean_table has 2 entries, but it must have 3"),
        ({"g_table_us": (1.0,)}, "at least 2"),
        ({"nu_std_table": (0.1, -0.1)}, "standard deviation must not be negative"),
    ],
)
def test_bad_custom_drift_table_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CustomDriftDevice(**{**TABLE, **changes})


def test_converter_beyond_the_drift_table_is_refused():
    device = CustomDriftDevice(**{**TABLE, "g_table_us": (5.0, 25.0)})
    with pytest.raises(ValueError, match=r"uses 0.0 to 25.0 uS, but .* covers 5.0 to 25.0"):
        device.check_converter(SinglePair())
    device.check_converter(SinglePair(g_min_us=5.0))


def test_converter_beyond_g_max_is_refused():
    with pytest.raises(ValueError, match=r"g_min_us is 30.0, but it must be below"):
        PCMDevice().check_converter(SinglePair(g_min_us=30.0))
    table = CustomPair(tables_us=((0, 0, 30), (30, 0, 0)))
    with pytest.raises(ValueError, match=r"reaches 30.0 uS, but the device's g_max_us is 25.0"):
        PCMDevice().check_converter(table)

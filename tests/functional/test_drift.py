import numpy as np
import pytest
import torch

from aimc_lightning.functional.drift import (
    accumulated_noise_growth,
    conductance_after_drift,
    draw_drift_exponents,
    power_law_noise_strength,
    require_time,
)
from tests.helpers import reference
from tests.helpers.statistics import assert_moments, generator, repeated

YEAR_S = 365 * 86400.0
TIMES = [1.0, 3600.0, 86400.0, YEAR_S]


@pytest.mark.parametrize("time_s", TIMES)
def test_drift_agrees_with_the_reference(time_s):
    g = torch.linspace(0, 25, 20, dtype=torch.float64)
    nu = torch.linspace(0, 0.15, 20, dtype=torch.float64)
    ours = conductance_after_drift(g, nu, time_s)
    np.testing.assert_allclose(ours, reference.drifted(g.numpy(), nu.numpy(), time_s), rtol=1e-13)


@pytest.mark.parametrize(
    ("time_s", "factor"), list(zip(TIMES, [0.9976, 0.7751, 0.6635, 0.4970], strict=True))
)
def test_factors_of_the_specification(time_s, factor):
    one = torch.ones(1, dtype=torch.float64)
    assert conductance_after_drift(one, 0.049 * one, time_s).item() == pytest.approx(
        factor, abs=1e-4
    )


def test_zero_time_leaves_conductance_unchanged():
    g = torch.rand(10)
    assert torch.equal(conductance_after_drift(g, torch.ones(10), 0.0), g)


@pytest.mark.parametrize("time_s", [-1.0, float("nan"), float("inf")])
def test_impossible_time_is_refused(time_s):
    with pytest.raises(ValueError, match="finite and not negative"):
        require_time(time_s)


def test_exponents_follow_the_folded_normal_law():
    # 200 000 draws per point, bound 5 standard errors
    mean, std = [0.0, 0.02, 0.05, 0.1], [0.05, 0.03, 0.008, 0.045]
    nu = draw_drift_exponents(repeated(mean), torch.tensor(std), generator=generator())
    assert_moments(nu, *reference.folded_normal(np.array(mean), np.array(std)))


def test_scale_multiplies_the_exponents():
    mean, std = torch.full((100,), 0.05), torch.full((100,), 0.02)
    once = draw_drift_exponents(mean, std, generator=generator())
    assert torch.equal(draw_drift_exponents(mean, std, 3.0, generator=generator()), once * 3)


def test_growth_agrees_with_the_reference_and_the_table_of_the_specification():
    ours = [accumulated_noise_growth(time_s + 20, 250e-9) for time_s in TIMES]
    assert ours == pytest.approx([reference.growth(time_s + 20) for time_s in TIMES], rel=1e-14)
    assert ours == pytest.approx([4.190, 4.765, 5.087, 5.637], abs=5e-4)


def test_growth_is_zero_before_the_first_read_ends():
    assert accumulated_noise_growth(0.0, 250e-9) == 0.0


def test_strength_agrees_with_the_reference():
    r = torch.linspace(0, 1, 50, dtype=torch.float64)
    ours = power_law_noise_strength(r) * accumulated_noise_growth(21.0, 250e-9)
    expected = reference.read_std(np.ones(50), r.numpy(), 1.0, 1.0)
    np.testing.assert_allclose(ours, expected, rtol=1e-13)


def test_drift_is_differentiable():
    g = torch.rand(3, dtype=torch.float64, requires_grad=True)
    nu = torch.rand(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: conductance_after_drift(a, b, 100.0), (g, nu))

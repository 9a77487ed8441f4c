import numpy as np
import pytest
import torch

from aimc_lightning.functional.programming import add_conductance_noise, programming_noise_std
from tests.helpers import reference
from tests.helpers.statistics import assert_moments, generator, repeated

COEFFICIENTS = (0.26348, 1.9650, -1.1731)


@pytest.mark.parametrize("g_max", [25.0, 40.0])
def test_programming_std_agrees_with_the_reference(g_max):
    g = torch.linspace(0, g_max, 30, dtype=torch.float64)
    ours = programming_noise_std(g, COEFFICIENTS, g_max, 25.0)
    np.testing.assert_allclose(ours, reference.programming_std(g.numpy(), g_max), rtol=1e-14)


def test_values_of_the_specification_at_25_us():
    g = torch.tensor([0.0, 12.5, 20.9375, 25.0], dtype=torch.float64)
    ours = programming_noise_std(g, COEFFICIENTS, 25.0)
    np.testing.assert_allclose(ours, [0.2635, 0.9527, 1.0864, 1.0554], atol=1e-4)


def test_without_reference_the_polynomial_is_not_rescaled():
    ours = programming_noise_std(torch.zeros(1), (0.5,), 40.0)
    assert ours.item() == 0.5


def test_noise_follows_the_clamped_normal_law():
    # 200 000 draws per point, bound 5 standard errors
    g, std = [0.0, 0.1, 1.0, 5.0], [0.26, 0.3, 0.5, 1.0]
    noisy = add_conductance_noise(repeated(g), torch.tensor(std), generator=generator())
    assert_moments(noisy, *reference.clamped_normal(np.array(g), np.array(std)))


def test_noise_is_clipped_at_both_limits_or_at_none():
    g = torch.full((10_000,), 5.0)
    both = add_conductance_noise(g, 9.0, g_min_us=2.0, g_max_us=8.0, generator=generator())
    assert (both.min().item(), both.max().item()) == (2.0, 8.0)
    none = add_conductance_noise(g, 9.0, g_min_us=None, generator=generator())
    assert none.min() < 0


def test_same_generator_state_gives_the_same_noise():
    first, second = (add_conductance_noise(torch.ones(9), 1.0, generator=generator()) for _ in "ab")
    assert torch.equal(first, second)


def test_zero_std_is_the_identity():
    g = torch.rand(100)
    assert torch.equal(add_conductance_noise(g, 0.0), g)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_noise_keeps_the_dtype(dtype):
    assert add_conductance_noise(torch.ones(3, dtype=dtype), 0.1).dtype == dtype

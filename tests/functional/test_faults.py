import pytest
import torch

from aimc_lightning.functional.faults import draw_stuck_devices
from tests.helpers.statistics import generator

DRAWS = 200_000


def test_no_probability_is_the_identity():
    g = torch.rand(100)
    faulty, stuck = draw_stuck_devices(g, 25.0)
    assert torch.equal(faulty, g)
    assert not stuck.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shares_and_values_follow_the_probabilities(dtype):
    # 200 000 draws, bound 5 standard errors of a binomial share
    healthy = torch.full((DRAWS,), 3.0, dtype=dtype)
    faulty, stuck = draw_stuck_devices(healthy, 25.0, 0.01, 0.02, 0.1, generator=generator())
    assert faulty.dtype == dtype
    for share, p in (
        ((faulty == 0) & stuck, 0.01),
        ((faulty == 25) & stuck, 0.02),
        (stuck, 0.13),
    ):
        assert abs(share.float().mean().item() - p) < 5 * (p * (1 - p) / DRAWS) ** 0.5 + 2e-4
    assert (faulty[~stuck] == 3).all()


def test_random_values_are_uniform_over_the_range():
    # 200 000 draws, bound 5 standard errors of a uniform mean
    faulty, _ = draw_stuck_devices(torch.zeros(DRAWS), 25.0, p_random=1.0, generator=generator())
    assert abs(faulty.mean().item() - 12.5) < 5 * 25 / 12**0.5 / DRAWS**0.5
    assert 0 <= faulty.min() < 0.01 < 24.99 < faulty.max() <= 25

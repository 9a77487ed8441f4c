"""Training weight noise and the spread of short-term read noise.

Bounds of statistical tests: with N draws the standard error of a mean is std / sqrt(N), that of a
standard deviation of a normal is std / sqrt(2 N); five of them are allowed, six where a whole grid
is compared at once.
"""

import numpy as np
import pytest
import torch

from aimc_lightning.functional.noise import (
    PCM_COEFFICIENTS_US,
    drop_connect,
    noisy_weight,
    pcm_weight_noise,
    polynomial,
    read_noise_variance,
)
from tests.helpers import reference_mvm as reference

N = 100_000
GRID = torch.tensor([-1.0, -0.6, -0.1, 0.0, 0.05, 0.3, 1.0], dtype=torch.float64)
EVERY_TYPE = [
    "none", "pcm", "additive", "multiplicative", "discretize", "discretize_additive", "dorefa",
    "polynomial", "programming",
]  # fmt: skip


def _draws(kind: str, std: float, weight: torch.Tensor = GRID, **options: object) -> torch.Tensor:
    """Return N draws of the noisy weights, shape (N, weights)."""
    generator = torch.Generator().manual_seed(17)
    return noisy_weight(weight.expand(N, -1).clone(), kind, std, generator=generator, **options)


def _same_moments(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare mean and standard deviation of two samples of N draws each."""
    std = expected.std(0)
    error = 6 * std * (2 / N) ** 0.5 + 1e-12
    assert ((ours.mean(0) - expected.mean(0)).abs() <= error).all()
    # The law may have heavier tails than a normal: the error of std follows from the kurtosis.
    centred = expected - expected.mean(0)
    fourth = centred.pow(4).mean(0) / std.clamp(min=1e-12).pow(4)
    assert (
        (ours.std(0) - std).abs() <= 6 * std * (fourth.clamp(min=3) / (2 * N)) ** 0.5 + 1e-12
    ).all()


def _normal_with(ours: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> None:
    assert ((ours.mean(0) - mean).abs() <= 6 * std / N**0.5 + 1e-12).all()
    assert ((ours.std(0) - std).abs() <= 6 * std / (2 * N) ** 0.5 + 1e-12).all()


@pytest.mark.parametrize("w_max", [1.0, 0.8])
def test_additive_noise_has_the_stated_spread(w_max):
    _normal_with(_draws("additive", 0.1, w_max=w_max), GRID, torch.full_like(GRID, 0.1 * w_max))


@pytest.mark.parametrize("w_max", [1.0, 0.8])
def test_multiplicative_noise_grows_with_the_weight(w_max):
    _normal_with(_draws("multiplicative", 0.1, w_max=w_max), GRID, 0.1 * w_max * GRID.abs())


def test_polynomial_noise_follows_the_polynomial():
    c = (0.0105392, 0.0768, -0.046925)
    ratio = GRID.abs() / 1.5
    expected = 1.5 * 2.0 * (c[0] + c[1] * ratio + c[2] * ratio**2)
    _normal_with(_draws("polynomial", 2.0, coefficients=c, w_max=1.5), GRID, expected)


def test_programming_noise_is_reflected_at_zero():
    sigma = torch.from_numpy(reference.sigma_prog_us(GRID.abs().numpy())) / 25
    xi = torch.randn(N, len(GRID), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.where(GRID < 0, -1.0, 1.0) * (GRID + 3 * sigma * xi).abs()
    _same_moments(_draws("programming", 3.0), expected)


@pytest.mark.parametrize(
    ("scale", "time_s"), [(3.0, 0.0), (3.0, 1.0), (1.0, 3600.0), (2.0, 3.15e7)]
)
def test_pcm_noise_agrees_with_the_reference(scale, time_s):
    rng = np.random.default_rng(3)
    w = np.broadcast_to(GRID.numpy(), (N, len(GRID)))
    expected = torch.from_numpy(reference.pcm_modifier(w, scale, time_s, 1.0, rng))
    _same_moments(_draws("pcm", scale, t_inference_s=time_s), expected)


def test_pcm_noise_scales_with_the_largest_weight():
    xi = torch.randn_like(GRID)
    small = pcm_weight_noise(GRID * 0.5, 2.0, xi.clone(), w_max=0.5)
    torch.testing.assert_close(small, 0.5 * pcm_weight_noise(GRID, 2.0, xi))


def test_pcm_noise_keeps_signs_and_zeros():
    drawn = noisy_weight(GRID.repeat(1000, 1), "pcm", 5.0, t_inference_s=3600.0)
    assert (drawn.sign() * GRID.sign() >= 0).all()
    assert (drawn[:, 3] == 0).all()


def test_pcm_noise_of_given_numbers_is_the_formula():
    w, xi = torch.tensor([0.5, -0.5, 1.0]), torch.tensor([1.0, 1.0, -2.0])
    half, full = 0.26348 + 1.9650 * 0.5 - 1.1731 * 0.25, 0.26348 + 1.9650 - 1.1731
    expected = [0.5 + half / 25, -(0.5 + half / 25), 1 - 2 * full / 25]
    assert pcm_weight_noise(w, 1.0, xi).tolist() == pytest.approx(expected, rel=1e-6)


def test_discretising_rounds_halves_away_from_zero():
    w = torch.tensor([0.25, -0.25, 0.75, 0.74, 1.0], dtype=torch.float64)
    assert noisy_weight(w, "discretize", 0.0, resolution=0.5).tolist() == [0.5, -0.5, 1, 0.5, 1]


def test_discretising_steps_are_relative_to_the_largest_weight():
    w = torch.tensor([0.3, 1.9], dtype=torch.float64)
    rounded = noisy_weight(w, "discretize", 0.0, resolution=0.25, w_max=2.0)
    assert rounded.tolist() == [0.5, 2.0]


def test_discretised_weights_get_additive_noise_on_top():
    rounded = noisy_weight(GRID, "discretize", 0.0, resolution=0.25)
    drawn = _draws("discretize_additive", 0.05, resolution=0.25)
    _normal_with(drawn, rounded, torch.full_like(GRID, 0.05))


@pytest.mark.parametrize("w_max", [1.0, 0.7])
def test_dorefa_is_the_formula(w_max):
    expected = 0.1 * torch.round(torch.tanh(GRID) * 0.6 / np.tanh(w_max) / 0.1)
    ours = noisy_weight(GRID, "dorefa", 0.0, resolution=0.1, w_max=w_max)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("kind", ["pcm", "additive", "multiplicative", "polynomial", "programming"])
def test_zero_noise_is_the_identity(kind):
    torch.testing.assert_close(noisy_weight(GRID, kind, 0.0), GRID, rtol=0, atol=1e-15)


def test_no_noise_returns_the_weight_itself():
    assert noisy_weight(GRID, "none", 1.0) is GRID


@pytest.mark.parametrize("kind", EVERY_TYPE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_noise_keeps_dtype_and_leaves_the_weight_untouched(kind, dtype):
    weight = GRID.to(dtype)
    drawn = noisy_weight(weight, kind, 0.1, resolution=0.1, t_inference_s=10.0)
    assert drawn.dtype == dtype
    assert torch.equal(weight, GRID.to(dtype))


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_noise_repeats_with_the_same_generator(kind):
    first, second = (
        noisy_weight(
            GRID, kind, 0.1, resolution=0.1, t_inference_s=9.0,
            generator=torch.Generator().manual_seed(2),
        )
        for _ in range(2)
    )  # fmt: skip
    assert torch.equal(first, second)


def test_largest_weight_may_be_a_tensor():
    options = {"resolution": 0.1, "t_inference_s": 9.0}
    for kind in EVERY_TYPE:
        one, other = (
            noisy_weight(GRID, kind, 0.1, w_max=w_max, generator=generator, **options)
            for w_max, generator in (
                (0.7, torch.Generator().manual_seed(2)),
                (torch.tensor(0.7, dtype=torch.float64), torch.Generator().manual_seed(2)),
            )
        )
        torch.testing.assert_close(one, other)


def test_unknown_type_is_refused_by_name():
    with pytest.raises(ValueError, match="Unknown weight noise type 'pink'"):
        noisy_weight(GRID, "pink", 1.0)


@pytest.mark.parametrize("p", [0.01, 0.3])
def test_drop_connect_drops_the_stated_share_and_rescales_nothing(p):
    dropped = drop_connect(torch.full((N,), 2.0), p, generator=torch.Generator().manual_seed(0))
    assert set(dropped.tolist()) == {0.0, 2.0}
    share = float((dropped == 0).double().mean())
    assert share == pytest.approx(p, abs=5 * (p * (1 - p) / N) ** 0.5)


def test_drop_connect_of_nothing_returns_the_weight_itself():
    assert drop_connect(GRID, 0.0) is GRID


@pytest.mark.parametrize("kind", ["pcm", "constant"])
def test_read_noise_variance_agrees_with_the_reference(kind):
    rng = np.random.default_rng(0)
    w, x = rng.uniform(-1, 1, (5, 30)), rng.uniform(-1, 1, (4, 30))
    factor = np.abs(w) if kind == "pcm" else np.ones_like(w)
    squares = torch.from_numpy((x**2) @ factor.T)
    ours = read_noise_variance(squares, 0.0175).sqrt().numpy()
    np.testing.assert_allclose(ours, reference.read_noise_std(w, x, 0.0175, kind), rtol=1e-12)


def test_polynomial_agrees_with_numpy():
    r = torch.linspace(0, 1, 11, dtype=torch.float64)
    expected = reference.sigma_prog_us(r.numpy())
    np.testing.assert_allclose(polynomial(PCM_COEFFICIENTS_US, r).numpy(), expected, rtol=1e-14)

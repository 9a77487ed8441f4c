"""Uniform quantiser of DAC and ADC."""

import numpy as np
import pytest
import torch

from aimc_lightning.functional.quantize import converter_codes, quantize_uniform, quantizer_steps
from tests.helpers import reference_mvm as reference


@pytest.mark.parametrize(("bits", "steps"), [(2, 2), (7, 126), (8, 254), (9, 510), (24, 16777214)])
def test_steps_leave_a_level_for_zero_and_both_bounds(bits, steps):
    assert quantizer_steps(bits) == steps


@pytest.mark.parametrize("bits", [1, 0, -8, 25, 8.0, "8", True, None])
def test_impossible_bits_are_refused_by_value(bits):
    with pytest.raises(ValueError, match=f"integer from 2 to 24, got {bits!r}"):
        quantizer_steps(bits)


@pytest.mark.parametrize(("steps", "bound"), [(254, 1.0), (254, 10.0), (2, 3.0), (510, 12.0)])
def test_levels_agree_with_the_reference(steps, bound):
    x = np.random.default_rng(0).normal(0, bound, (64, 64))
    ours = quantize_uniform(torch.from_numpy(x), steps, bound).numpy()
    np.testing.assert_allclose(ours, reference.quantize(x, steps, bound), rtol=0, atol=1e-12)


def test_ties_are_rounded_to_even():
    halves = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert converter_codes(halves, 254).tolist() == [-2, -2, 0, 0, 2, 2]


def test_values_beyond_the_bound_take_its_level():
    x = torch.tensor([-torch.inf, -1.2, 1.0, 7.0, torch.inf])
    assert quantize_uniform(x, 254, 1.0).tolist() == [-1, -1, 1, 1, 1]


def test_number_of_levels_is_steps_plus_one():
    x = torch.linspace(-2, 2, 100_001, dtype=torch.float64)
    assert len(quantize_uniform(x, 62, 1.5).unique()) == 63


def test_quantising_twice_changes_nothing():
    once = quantize_uniform(torch.randn(1000, dtype=torch.float64), 254, 10.0)
    assert torch.equal(quantize_uniform(once, 254, 10.0), once)


def test_quantize_uniform_leaves_its_input_untouched():
    x = torch.tensor([0.3, 0.7])
    quantize_uniform(x, 2, 1.0)
    assert x.tolist() == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    assert quantize_uniform(torch.ones(3, dtype=dtype), 254, 1.0).dtype == dtype


def test_stochastic_rounding_is_unbiased():
    # 1e5 draws of a value 0.3 steps above a level: std of the mean is sqrt(0.21 / 1e5) = 0.00145.
    generator = torch.Generator().manual_seed(1)
    levels = torch.full((100_000,), 4.3, dtype=torch.float64)
    codes = converter_codes(levels, 254, stochastic=True, generator=generator)
    assert set(codes.tolist()) == {4.0, 5.0}
    assert float(codes.mean()) == pytest.approx(4.3, abs=5 * 0.00145)


def test_stochastic_rounding_repeats_with_the_same_generator():
    x = torch.randn(1000)
    first, second = (
        quantize_uniform(
            x, 254, 1.0, stochastic=True, generator=torch.Generator().manual_seed(seed)
        )
        for seed in (3, 3)
    )
    assert torch.equal(first, second)

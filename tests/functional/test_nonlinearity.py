"""S-shape, series resistance, voltage offset and asymmetry."""

import numpy as np
import pytest
import torch

from aimc_lightning.functional.nonlinearity import (
    asymmetric_,
    calibrated_slope,
    offset_and_series_resistance,
    s_shape,
)
from tests.helpers import reference_mvm as reference

RNG = np.random.default_rng(0)
Z, N_I = RNG.normal(0, 5, (20, 6)), RNG.uniform(0, 0.1, 6)


def test_s_shape_agrees_with_the_reference():
    ours = s_shape(torch.from_numpy(Z), torch.from_numpy(N_I), 1.7).numpy()
    np.testing.assert_allclose(ours, reference.s_shape(Z, N_I, 1.7), rtol=1e-13)


def test_s_shape_without_steepness_is_the_identity():
    z = torch.from_numpy(Z)
    assert torch.equal(s_shape(z, torch.zeros(6)), z)


@pytest.mark.parametrize(("r_series", "calibration"), [(0.0, 1.0), (0.02, 0.5), (0.1, 0.0)])
def test_slope_agrees_with_the_reference(r_series, calibration):
    ours = calibrated_slope(torch.from_numpy(N_I), r_series, calibration, 12.0)
    expected = reference.calibrated_slope(N_I, r_series, calibration, 12.0)
    assert float(ours) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("w_min", [-1.0, -0.5, 0.0])
@pytest.mark.parametrize("r_series", [0.0, 0.01])
def test_offset_agrees_with_the_reference(w_min, r_series):
    x, v = RNG.uniform(-1, 1, (20, 9)), RNG.uniform(0, 0.1, 6)
    ours = offset_and_series_resistance(
        torch.from_numpy(Z), torch.from_numpy(x.sum(1, keepdims=True)), torch.from_numpy(v),
        r_series, w_min,
    )  # fmt: skip
    np.testing.assert_allclose(ours.numpy(), reference.offset(Z, x, v, r_series, w_min), atol=1e-12)


def test_offset_without_series_resistance_is_the_short_formula():
    # hardware_model.md a.6: with r_s = 0 it is (1 - v) z - 2 v y_ref.
    z, total = torch.tensor([3.0]), torch.tensor([2.0])
    shifted = offset_and_series_resistance(z, total, 0.1, 0.0, -1.0)
    assert float(shifted) == pytest.approx(0.9 * 3 - 2 * 0.1 * 2)


def test_no_offset_and_no_resistance_are_the_identity():
    z = torch.from_numpy(Z)
    same = offset_and_series_resistance(z, z.sum(1, keepdim=True), 0.0, 0.0, -1.0)
    torch.testing.assert_close(same, z, rtol=0, atol=1e-13)


def test_asymmetry_scales_negative_values_alone():
    values = torch.tensor([-2.0, 0.0, 2.0])
    assert asymmetric_(values, 0.25).tolist() == [-1.5, 0.0, 2.0]


def test_no_asymmetry_is_the_identity():
    z = torch.from_numpy(Z)
    assert torch.equal(asymmetric_(z.clone(), 0.0), z)


@pytest.mark.parametrize("function", [
    lambda z: s_shape(z, torch.tensor(0.3, dtype=z.dtype), 1.5),
    lambda z: offset_and_series_resistance(z, z.sum(-1, keepdim=True), 0.05, 0.1, -1.0),
])  # fmt: skip
def test_gradients_are_true(function):
    z = torch.tensor([[0.5, -1.5, 2.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, z)

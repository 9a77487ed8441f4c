import numpy as np
import pytest
import torch

from aimc_lightning.functional.curves import clipped_logarithm, interpolate_table, polynomial

X = torch.linspace(0, 1, 11, dtype=torch.float64)


def test_polynomial_agrees_with_numpy():
    ours = polynomial(X, (1.0, -2.0, 0.5))
    np.testing.assert_allclose(ours, np.polynomial.polynomial.polyval(X, [1, -2, 0.5]), rtol=1e-15)


def test_polynomial_of_one_coefficient_is_constant():
    assert polynomial(X, (3.0,)).tolist() == [3.0] * 11


def test_polynomial_without_coefficients_is_refused():
    with pytest.raises(ValueError, match="coefficients is empty"):
        polynomial(X, ())


def test_clipped_logarithm_is_finite_at_zero():
    assert clipped_logarithm(X, -1.0, 0.0, 0.1, 2.0)[0] == 2.0


def test_clipped_logarithm_between_its_limits_is_a_line_over_the_logarithm():
    ours = clipped_logarithm(X[5:6], -1.0, 0.25, 0.0, 2.0)
    assert ours.item() == pytest.approx(-np.log(0.5) + 0.25)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_interpolation_keeps_the_dtype_and_agrees_with_numpy(dtype):
    points, values = [0.0, 0.25, 1.0], [5.0, 1.0, 3.0]
    x = torch.linspace(-0.5, 1.5, 21)
    ours = interpolate_table(
        x.to(dtype), torch.tensor(points, dtype=dtype), torch.tensor(values, dtype=dtype)
    )
    assert ours.dtype == dtype
    tolerance = 8 * torch.finfo(dtype).eps * 5
    np.testing.assert_allclose(ours.double(), np.interp(x, points, values), atol=tolerance)


def test_interpolation_is_exact_at_the_table_points():
    points, values = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([2.0, -1.0, 7.0])
    assert interpolate_table(points, points, values).tolist() == values.tolist()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3)])
def test_interpolation_refuses_a_table_that_is_too_short_or_uneven(n, m):
    with pytest.raises(ValueError, match="same length, at least 2"):
        interpolate_table(X, torch.arange(n), torch.arange(m))

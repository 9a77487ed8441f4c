"""Static approximation of the IR drop."""

import numpy as np
import pytest
import torch

from aimc_lightning.functional.ir_drop import position_weights, subtract_ir_drop_
from tests.helpers import reference_mvm as reference


def _dropped(w: np.ndarray, x: np.ndarray, scale: float, ratio: float) -> np.ndarray:
    wt, xt = torch.from_numpy(w), torch.from_numpy(x)
    n = w.shape[1]
    position = position_weights(n, dtype=torch.float64, device=torch.device("cpu"))
    current, weighted = xt.abs() @ wt.abs().t(), xt @ (wt * position).t()
    return subtract_ir_drop_(xt @ wt.t(), current, weighted, n, scale, ratio).numpy()


@pytest.mark.parametrize("n", [1, 2, 64, 512])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_drop_agrees_with_the_reference(n, scale):
    rng = np.random.default_rng(n)
    w, x = rng.uniform(-1, 1, (8, n)), rng.uniform(-1, 1, (6, n))
    expected = x @ w.T - reference.ir_drop(w, x, scale, 20_000.0)
    np.testing.assert_allclose(_dropped(w, x, scale, 20_000.0), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("scale", "ratio"), [(0.0, 571428.57), (1.0, float("inf"))])
def test_zero_scale_and_perfect_wires_leave_the_product_unchanged(scale, ratio):
    z, current = torch.randn(3, 4), torch.rand(3, 4)
    dropped = subtract_ir_drop_(z.clone(), current, torch.randn(3, 4), 9, scale, ratio)
    assert torch.equal(dropped, z)


def test_first_input_sees_no_drop_and_the_last_nearly_all():
    position = position_weights(512, dtype=torch.float64, device=torch.device("cpu"))
    assert float(position[0]) == 0.0
    assert float(position[-1]) == pytest.approx(1 - 1 / 512**2, abs=1e-15)


def test_uniform_values_have_the_size_that_the_specification_states():
    # hardware_model.md a.4 (5): a about 0.115 and c about 0.055 for n = 512.
    rng = np.random.default_rng(0)
    w, x = rng.uniform(-1, 1, (64, 512)), rng.uniform(-1, 1, (64, 512))
    a = 512 / 571428.57 * (np.abs(x) @ np.abs(w).T).mean()
    assert a == pytest.approx(0.115, abs=0.001)
    assert 0.05 * a**3 - 0.2 * a**2 + 0.5 * a == pytest.approx(0.055, abs=0.001)


def test_drop_is_odd_in_the_input():
    rng = np.random.default_rng(0)
    w, x = rng.uniform(-1, 1, (4, 9)), rng.uniform(-1, 1, (3, 9))
    np.testing.assert_allclose(_dropped(w, -x, 1.0, 900.0), -_dropped(w, x, 1.0, 900.0), atol=1e-14)

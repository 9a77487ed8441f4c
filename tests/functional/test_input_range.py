"""Initialisation of the input range from data, and the gradient by which it is learned."""

import math

import numpy as np
import pytest
import torch

from aimc_lightning.functional.input_range import input_range_gradient, updated_input_range
from tests.helpers import reference_mvm as reference


def _gradient(c: float, x: np.ndarray, dx: np.ndarray, decay: float, share: float = 0.95) -> float:
    relative = torch.from_numpy(x / c)
    clipped = torch.from_numpy(np.where(np.abs(x) >= c, dx, 0.0))
    width = torch.tensor(c, dtype=torch.float64)
    return float(input_range_gradient(width, relative, clipped, decay=decay, min_percentage=share))


def test_first_batch_overwrites_the_start_value():
    c, i = updated_input_range(torch.tensor(77.0), torch.tensor(0), torch.tensor([0.0, 2.0]), 3.0)
    assert float(c) == pytest.approx(3 * math.sqrt(2))
    assert int(i) == 1


def test_several_batches_agree_with_the_reference():
    rng = np.random.default_rng(0)
    c, i = torch.tensor(3.0, dtype=torch.float64), torch.tensor(0)
    expected, count = 3.0, 0
    for scale in (1.0, 4.0, 0.0, 2.0):
        x = scale * rng.normal(size=(8, 5))
        c, i = updated_input_range(c, i, torch.from_numpy(x), 2.5)
        expected, count = reference.updated_range(expected, count, x, 2.5)
    assert float(c) == pytest.approx(expected, rel=1e-12)
    assert int(i) == count == 3


@pytest.mark.parametrize("x", [torch.ones(4, 4), torch.ones(1), torch.empty(0, 3)])
def test_batch_without_spread_changes_nothing(x):
    c, i = updated_input_range(torch.tensor(2.0), torch.tensor(1), x, 3.0)
    assert (float(c), int(i)) == (2.0, 1)


def test_non_finite_batch_changes_nothing():
    x = torch.tensor([1.0, math.nan])
    c, i = updated_input_range(torch.tensor(2.0), torch.tensor(1), x, 3.0)
    assert (float(c), int(i)) == (2.0, 1)


def test_half_precision_inputs_are_measured_in_the_precision_of_the_range():
    x = torch.full((70_000,), 60_000.0, dtype=torch.float16)
    x[0] = -60_000.0
    c, _ = updated_input_range(torch.tensor(1.0), torch.tensor(0), x, 1.0)
    assert float(c) == pytest.approx(120_000 / math.sqrt(70_000), rel=1e-3)


def test_running_mean_of_many_batches_holds_in_half_precision():
    c, i = torch.tensor(3.0, dtype=torch.bfloat16), torch.tensor(0)
    for step in range(100):
        x = torch.tensor([-1.0, 1.0], dtype=torch.bfloat16) * (2 if step % 2 else 1)
        c, i = updated_input_range(c, i, x, 1.0)
    assert c.dtype == torch.bfloat16
    assert float(c) == pytest.approx(1.5 * math.sqrt(2), rel=0.02)


@pytest.mark.parametrize("decay", [0.0, 0.001, 0.1])
@pytest.mark.parametrize("c", [0.5, 2.0, 6.0])
def test_gradient_agrees_with_the_reference(c, decay):
    rng = np.random.default_rng(1)
    x, dx = rng.normal(size=(200, 16)), rng.normal(size=(200, 16))
    expected = reference.range_gradient(c, x, dx, decay)
    assert _gradient(c, x, dx, decay) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_inputs_exactly_on_the_range_count_as_clipped():
    x, dx = np.array([2.0, -2.0, 1.9]), np.array([-1.0, 3.0, -100.0])
    assert _gradient(2.0, x, dx, 0.0) == pytest.approx(2.0 * (-1.0 - 3.0))


def test_gradients_that_would_narrow_the_range_from_outside_are_ignored():
    x, dx = np.array([3.0, -3.0]), np.array([1.0, -1.0])
    assert _gradient(2.0, x, dx, 0.0) == 0.0


@pytest.mark.parametrize(("clipped", "decays"), [(4, True), (5, False), (6, False)])
def test_decay_acts_only_while_more_than_the_share_lies_inside(clipped, decays):
    x = np.array([9.0] * clipped + [0.1] * (100 - clipped))
    expected = 0.01 * 2.0 if decays else 0.0
    assert _gradient(2.0, x, np.zeros(100), 0.01, 0.95) == pytest.approx(expected)


def test_empty_batch_has_no_gradient():
    assert _gradient(2.0, np.empty((0, 3)), np.empty((0, 3)), 0.01) == 0.0

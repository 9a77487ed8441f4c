"""Initialisation of the input range from data, and the gradient by which it is learned."""

import math

import numpy as np
import pytest
import torch

from aimc_lightning.functional.input_range import (
    input_range_gradient,
    relative_error,
    searched_input_range,
    updated_input_range,
)
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


def _valley(best: float):
    return lambda c: (c / best).log() ** 2


@pytest.mark.parametrize("best", [1.0, 5.0, 40.0])
def test_search_comes_closer_with_every_batch(best):
    x = torch.tensor([-1.0, 1.0])
    c, i = searched_input_range(torch.tensor(77.0), torch.tensor(0), x, _valley(best))
    assert abs(math.log(float(c) / best)) <= math.log(64) / 15 / 2 + 1e-6  # half a step
    for _ in range(30):
        c, i = searched_input_range(c, i, x, _valley(best))
    assert float(c) == pytest.approx(best, rel=0.03)
    assert int(i) == 31


def test_search_is_relative_to_the_root_mean_square_of_the_inputs():
    tried = []

    def note(c):
        tried.extend(c.tolist())
        return c

    x = torch.tensor([0.0, -6.0, 6.0, 6.0])
    searched_input_range(torch.tensor(3.0), torch.tensor(0), x, note)
    size = math.sqrt(27)
    assert tried[0] == pytest.approx(size)
    assert tried[-1] == pytest.approx(64 * size, rel=1e-4)
    tried.clear()
    searched_input_range(torch.tensor(-3.0), torch.tensor(1), x, note)  # |c| acts
    assert tried[0] == pytest.approx(1.5)
    assert tried[-1] == pytest.approx(6.0)


@pytest.mark.parametrize(
    "x",
    [torch.zeros(4), torch.empty(0, 3), torch.tensor([1.0, math.nan]), torch.tensor([math.inf])],
)
def test_search_learns_nothing_from_a_useless_batch(x):
    c, i = searched_input_range(torch.tensor(2.0), torch.tensor(1), x, _valley(9.0))
    assert (float(c), int(i)) == (2.0, 1)


def test_relative_error_counts_every_vector_alike():
    ideal = torch.tensor([[1.0, 0.0], [0.0, 1000.0]])
    wrong = torch.stack((ideal, ideal, ideal))
    wrong[0, 0] *= 0.5
    wrong[1, 1] *= 0.5
    floor = 1e-3 * 500_000.5
    small, large, none = relative_error(wrong, ideal, -1).tolist()
    assert large == pytest.approx(0.25e6 / (1e6 + floor) / 2, rel=1e-6)
    assert small == pytest.approx(0.25 / (1 + floor) / 2, rel=1e-5)
    assert none == 0
    assert float(relative_error(torch.zeros(1, 2, 2), torch.zeros(2, 2), -1)) == 0

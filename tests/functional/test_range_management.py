"""Noise management and bound management factors."""

import numpy as np
import pytest
import torch

from aimc_lightning.functional.range_management import (
    next_bound_factor,
    noise_management_factor,
    np_sum_factor,
)
from tests.helpers import reference_mvm as reference

X = np.random.default_rng(0).normal(0, 2, (50, 40))


@pytest.mark.parametrize("kind", ["abs_max", "max", "constant", "abs_max_np_sum"])
@pytest.mark.parametrize("threshold", [0.0, 2.5])
@pytest.mark.parametrize("dac_steps", [None, 254, 2])
def test_factor_agrees_with_the_reference(kind, threshold, dac_steps):
    expected = reference.noise_management_factor(X, kind, threshold, 3.0, dac_steps)
    ours = noise_management_factor(
        torch.from_numpy(X), kind, threshold=threshold, out_bound=3.0, dac_steps=dac_steps
    )
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("kind", ["abs_max", "max", "abs_max_np_sum"])
def test_vector_of_zeros_has_factor_one(kind):
    assert noise_management_factor(torch.zeros(1, 4), kind, out_bound=10.0).tolist() == [[1.0]]


def test_max_of_negative_vector_falls_back_to_one():
    assert noise_management_factor(torch.tensor([-3.0, -4.0]), "max").tolist() == [1.0]


def test_np_sum_agrees_with_the_reference():
    ours = np_sum_factor(torch.from_numpy(X), 12.0)
    np.testing.assert_allclose(ours.numpy(), reference.np_sum_factor(X, 12.0), rtol=1e-13)


def test_only_vectors_at_the_bound_are_halved_again():
    outputs = torch.tensor([[1.0, -12.0], [11.9, 0.0]])
    factor, again = next_bound_factor(torch.ones(2, 1), outputs, 12.0, 1000.0)
    assert factor.tolist() == [[2.0], [1.0]]
    assert again


def test_factor_stops_at_the_limit():
    factor, again = next_bound_factor(torch.tensor([512.0]), torch.tensor([12.0]), 12.0, 1000.0)
    assert float(factor) == 512.0
    assert not again

import numpy as np
import pytest
import torch

from aimc_lightning.functional.conductance import (
    combined_table,
    pairs_to_weights,
    single_to_weights,
    weights_to_pairs,
    weights_to_single,
    weights_to_table,
)
from tests.helpers import reference
from tests.helpers.statistics import generator

W = torch.randn(7, 5, dtype=torch.float64, generator=generator())


@pytest.mark.parametrize("g_min", [0.0, 4.0])
def test_single_pair_agrees_with_the_reference(g_min):
    (plus, minus), k = weights_to_pairs(W, 25.0, g_min)
    expected_plus, expected_minus, expected_k = reference.single_pair(W.numpy(), 25.0, g_min)
    np.testing.assert_allclose(plus, expected_plus, rtol=1e-14)
    np.testing.assert_allclose(minus, expected_minus, rtol=1e-14)
    assert k.item() == pytest.approx(expected_k, rel=1e-15)


@pytest.mark.parametrize(("factors", "g_min"), [([1.0, 3.0], 0.0), ([1.0, 2.0, 4.0], 2.0)])
def test_several_pairs_agree_with_the_reference(factors, g_min):
    ours, k = weights_to_pairs(W, 20.0, g_min, factors)
    expected, expected_k = reference.n_pairs(W.numpy(), factors, 20.0, g_min)
    assert k.item() == pytest.approx(expected_k, rel=1e-15)
    for ours_us, expected_us in zip(ours, expected, strict=True):
        np.testing.assert_allclose(ours_us, expected_us, atol=1e-13)


@pytest.mark.parametrize("factors", [(1.0,), (1.0, 3.0), (0.5, 1.0, 8.0)])
def test_pairs_convert_back_to_the_same_weights(factors):
    conductances, k = weights_to_pairs(W, 25.0, 3.0, factors)
    np.testing.assert_allclose(pairs_to_weights(conductances, k, factors), W, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_conversion_keeps_the_dtype(dtype):
    conductances, k = weights_to_pairs(W.to(dtype), 25.0)
    assert {g.dtype for g in conductances} == {dtype}
    assert pairs_to_weights(conductances, k).dtype == dtype


def test_zero_weights_give_zero_conductances_and_weights():
    conductances, k = weights_to_pairs(torch.zeros(2, 2), 25.0)
    assert all((g == 0).all() for g in conductances)
    assert (pairs_to_weights(conductances, k) == 0).all()


def test_only_the_lowest_pair_carries_small_weights():
    conductances, _ = weights_to_pairs(torch.tensor([0.1, 1.0]), 10.0, 0.0, (1.0, 4.0))
    assert [round(g[0].item(), 5) for g in conductances] == [5.0, 0.0, 0.0, 0.0]


def test_wrong_number_of_conductances_is_refused():
    with pytest.raises(ValueError, match="3 conductances were given for 1 pairs"):
        pairs_to_weights([W, W, W], torch.tensor(1.0))


def test_table_that_describes_a_single_pair_equals_the_single_pair():
    ours, k = weights_to_table(W, [[0, 0, 25], [25, 0, 0]])
    expected, expected_k = weights_to_pairs(W, 25.0)
    assert k.item() == pytest.approx(expected_k.item(), rel=1e-15)
    np.testing.assert_allclose(torch.stack(ours), torch.stack(expected), atol=1e-13)


def test_table_agrees_with_numpy_interpolation():
    plus, minus = [2.0, 5.0, 9.0, 20.0, 25.0], [25.0, 16.5, 9.0, 8.5, 2.0]
    ours, k = weights_to_table(W, [plus, minus])
    grid = np.linspace(-1, 1, 5) * W.abs().max().item()
    np.testing.assert_allclose(ours[0], np.interp(W, grid, plus), atol=1e-13)
    np.testing.assert_allclose(ours[1], np.interp(W, grid, minus), atol=1e-13)
    assert k.item() == pytest.approx(23 / W.abs().max().item())


def test_combined_table_weighs_pairs_by_their_factors():
    assert combined_table([[1, 2], [0, 0], [1, 1], [0, 3]], (1.0, 10.0)) == [11.0, -18.0]


@pytest.mark.parametrize("tables", [[[0, 1]], [[0, 1], [0, 1, 2]], [[0], [0]]])
def test_tables_that_do_not_fit_are_refused(tables):
    with pytest.raises(ValueError, match="tables"):
        combined_table(tables)


def test_single_device_uses_the_whole_range_and_converts_back():
    g, scale = weights_to_single(W, 88.2, 9.0)
    assert (g.min().item(), g.max().item()) == (9.0, pytest.approx(88.2))
    np.testing.assert_allclose(single_to_weights(g, scale, 9.0), W, atol=1e-14)


def test_single_device_of_equal_weights_converts_back():
    g, scale = weights_to_single(torch.full((2, 2), 0.3), 88.2, 9.0)
    assert (g == 9.0).all()
    assert torch.equal(single_to_weights(g, scale, 9.0), torch.full((2, 2), 0.3))


def test_conversion_of_pairs_is_differentiable():
    w = W[:2, :2].clone().requires_grad_()

    def round_trip(weight):
        conductances, k = weights_to_pairs(weight, 25.0)
        return pairs_to_weights(conductances, k)

    assert torch.autograd.gradcheck(round_trip, (w,))

import numpy as np
import pytest
import torch

from aimc_lightning.functional.clipping import (
    channel_max_clip_bound,
    clip_weights,
    gaussian_clip_bound,
    remap_weights,
)
from tests.helpers.statistics import generator

W = torch.randn(6, 40, dtype=torch.float64, generator=generator())


def test_gaussian_bound_is_a_multiple_of_the_unbiased_std():
    assert gaussian_clip_bound(W, 2.0).item() == pytest.approx(2 * W.numpy().std(ddof=1))


def test_channel_bound_is_the_mean_of_the_largest_magnitudes():
    expected = np.abs(W.numpy()).max(axis=1).mean()
    assert channel_max_clip_bound(W).item() == pytest.approx(expected)


def test_channel_bound_of_a_convolution_is_that_of_the_matrix():
    assert torch.equal(channel_max_clip_bound(W.view(6, 10, 2, 2)), channel_max_clip_bound(W))


@pytest.mark.parametrize("bound", [gaussian_clip_bound, channel_max_clip_bound])
def test_fixed_value_caps_the_bound(bound):
    assert bound(W, fixed_value=0.25).item() == 0.25
    assert bound(W, fixed_value=1e3) == bound(W)


def test_clipping_agrees_with_numpy():
    np.testing.assert_array_equal(clip_weights(W, 0.5), np.clip(W.numpy(), -0.5, 0.5))


def test_weights_without_spread_are_not_erased():
    w = torch.full((3, 3), 0.2)
    assert torch.equal(clip_weights(w, gaussian_clip_bound(w)), w)


def test_a_single_weight_is_not_clipped():
    w = torch.full((1, 1), 0.2)
    assert torch.equal(clip_weights(w, gaussian_clip_bound(w)), w)


@pytest.mark.parametrize("columnwise", [True, False])
def test_remapping_keeps_the_product_and_fills_the_range(columnwise):
    scales = torch.rand(6, dtype=torch.float64, generator=generator()) + 0.5
    w, s = remap_weights(W, scales, columnwise=columnwise, w_max=0.8)
    np.testing.assert_allclose(w * s[:, None], W * scales[:, None], rtol=1e-14)
    largest = w.abs().amax(1) if columnwise else w.abs().max()
    np.testing.assert_allclose(largest, 0.8, rtol=1e-14)


def test_remapping_leaves_zero_outputs_alone():
    w, s = remap_weights(torch.zeros(2, 3), torch.tensor([2.0, 3.0]))
    assert (w == 0).all()
    assert s.tolist() == [2.0, 3.0]


def test_remapping_of_a_convolution_is_that_of_the_matrix():
    scales = torch.ones(6, dtype=torch.float64)
    w, s = remap_weights(W.view(6, 10, 2, 2), scales)
    expected_w, expected_s = remap_weights(W, scales)
    assert torch.equal(w.flatten(1), expected_w)
    assert torch.equal(s, expected_s)


def test_one_scale_cannot_be_remapped_per_output():
    with pytest.raises(ValueError, match=r"scales has shape \(1,\)"):
        remap_weights(W, torch.ones(1))

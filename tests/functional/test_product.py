"""Linear and convolution products with their two products of back-propagation."""

import numpy as np
import pytest
import torch

from aimc_lightning.functional.product import ConvProduct, LinearProduct
from tests.helpers import reference_mvm as reference

CONVOLUTIONS = [
    ((1, 1), (0, 0), (1, 1), 1),
    ((2, 1), (1, 2), (1, 1), 1),
    ((1, 2), (0, 1), (2, 1), 2),
    ((3, 3), (2, 2), (1, 2), 4),
]


def _tensors(
    shape_x: tuple[int, ...], shape_w: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, w = (
        torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)
        for shape in (shape_x, shape_w)
    )
    return x, w


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5), (1, 5), (2, 0, 3, 5)])
def test_linear_backward_equals_autograd(shape):
    x, w = _tensors(shape, (4, 5))
    y = LinearProduct().forward(x, w)
    grad = torch.randn_like(y)
    expected = torch.autograd.grad(y, (x, w), grad)
    ours = LinearProduct().backward(grad, x.detach(), w.detach(), (True, True))
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_convolution_agrees_with_the_reference(settings):
    x, w = _tensors((2, 4, 8, 9), (8, 4 // settings[3], 3, 2))
    ours = ConvProduct(*settings).forward(x, w).detach().numpy()
    expected = reference.convolution(x.detach().numpy(), w.detach().numpy(), *settings)
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_convolution_backward_equals_autograd(settings):
    x, w = _tensors((2, 4, 8, 9), (8, 4 // settings[3], 3, 2))
    product = ConvProduct(*settings)
    y = product.forward(x, w)
    grad = torch.randn_like(y)
    expected = torch.autograd.grad(y, (x, w), grad)
    ours = product.backward(grad, x.detach(), w.detach(), (True, True))
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("needs", [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("product", [LinearProduct(), ConvProduct((1,), (0,), (1,), 1)])
def test_gradients_that_nobody_needs_are_none(product, needs):
    linear = isinstance(product, LinearProduct)
    x, w = _tensors(*(((3, 5), (4, 5)) if linear else ((2, 5, 8), (4, 5, 3))))
    grad = torch.ones_like(product.forward(x, w))
    ours = product.backward(grad, x.detach(), w.detach(), needs)
    assert tuple(g is not None for g in ours) == needs


@pytest.mark.parametrize("space", [1, 2, 3])
def test_per_output_broadcasts_over_space(space):
    product = ConvProduct((1,) * space, (0,) * space, (1,) * space, 1)
    y = torch.randn(2, 4, *(3,) * space)
    values = torch.arange(1.0, 5.0)
    scaled = y * product.per_output(values)
    assert torch.equal(scaled[:, 2], y[:, 2] * 3)


def test_reduce_to_outputs_sums_everything_else():
    y = torch.randn(2, 4, 3, 5)
    conv = ConvProduct((1, 1), (0, 0), (1, 1), 1)
    torch.testing.assert_close(conv.reduce_to_outputs(y), y.sum((0, 2, 3)))
    torch.testing.assert_close(LinearProduct().reduce_to_outputs(y), y.sum((0, 1, 2)))


def test_reduce_to_outputs_takes_a_single_vector():
    assert torch.equal(LinearProduct().reduce_to_outputs(torch.ones(4)), torch.ones(4))

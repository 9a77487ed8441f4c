"""Gradients of weights from 8-bit integers are those of float32."""

import copy

import pytest
import torch
from torch import Tensor

from aimc_lightning import TileConfig
from aimc_lightning.functional.integer_weights import LARGEST, MOST_TERMS
from aimc_lightning.nn.linear import AnalogLinear

pytest.importorskip("numba")
from aimc_lightning.functional import fused_backward, fused_integers
from aimc_lightning.functional.integer_gradient import integer_weight_gradient

SHAPES = [(1, 1, 1), (33, 1, 20), (1, 7, 5), (33, 7, 20), (300, 65, 130), (4096, 16, 32)]


def _operands(rows: int, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    grad = torch.randn(rows, outputs, generator=generator)
    codes = torch.randint(-127, 128, (rows, inputs), generator=generator).to(torch.int8)
    return grad, codes


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("spread", [1.0, 1000.0], ids=["even", "outliers"])
def test_gradients_are_off_by_half_a_step_of_16_bits_at_most(shape, spread):
    grad, codes = _operands(*shape)
    grad[0] *= spread
    exact = grad.double().t() @ codes.double()
    ours = integer_weight_gradient(grad, codes)
    assert ours.dtype == torch.float32
    step = grad.double().abs().amax(0) / LARGEST
    bound = 0.51 * step[:, None] * codes.double().abs().sum(0) + exact.abs() * 1e-6
    assert ((ours - exact).abs() <= bound).all()
    if spread == 1.0:
        assert (ours - exact).norm() < 5e-5 * exact.norm()  # TF32: 3e-4 and less in each factor


def test_largest_gradients_fit_their_parts():
    codes = torch.tensor([[127], [-127]], dtype=torch.int8)
    for factor in torch.linspace(0.9, 1.1, 4001).tolist():
        grad = torch.tensor([[factor, -factor], [0.0, 0.0]])
        exact = grad.double().t() @ codes.double()
        torch.testing.assert_close(
            integer_weight_gradient(grad, codes), exact.float(), rtol=1e-6, atol=0
        )


def test_zero_and_not_a_number_stay_in_their_output():
    grad, codes = _operands(40, 3, 5)
    grad[:, 0] = 0
    grad[39, 1] = torch.nan
    found = integer_weight_gradient(grad, codes)
    assert (found[0] == 0).all()
    assert found[1].isnan().all()
    assert found[2].isfinite().all()


def test_infinity_is_noticed():
    grad, codes = _operands(40, 3, 5)
    grad[7, 1] = torch.inf  # as a gradient scaler provokes it
    assert not integer_weight_gradient(grad, codes)[1].isfinite().any()


def test_sums_fit_into_32_bits():
    assert MOST_TERMS * 128 * 128 < 2**31


@pytest.mark.parametrize("way", ["integers", "floats", "autocast", "too many rows"])
def test_gradient_takes_integers_where_the_product_did(way, monkeypatch):
    calls = []
    gradient = fused_backward.integer_weight_gradient
    monkeypatch.setattr(
        fused_backward, "integer_weight_gradient", lambda *a: calls.append(1) or gradient(*a)
    )
    monkeypatch.setattr(fused_integers, "has_integer_instructions", lambda: way != "floats")
    if way == "too many rows":
        monkeypatch.setattr(fused_backward, "MOST_TERMS", 8)
    layer = AnalogLinear.from_digital(torch.nn.Linear(20, 7), TileConfig())
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        layer(torch.randn(9, 20)).sum().backward()
    assert calls == ([1] if way == "integers" else [])
    assert layer.weight.grad.isfinite().all()


def test_layer_learns_what_it_learns_in_floating_point(monkeypatch):
    layer = torch.nn.Linear(64, 32)
    x = torch.randn(300, 64, generator=torch.Generator().manual_seed(1))
    grads = []
    for serves in (True, False):
        monkeypatch.setattr(
            fused_integers, "has_integer_instructions", lambda serves=serves: serves
        )
        analog = AnalogLinear.from_digital(copy.deepcopy(layer), TileConfig())
        torch.manual_seed(0)  # the same noise
        analog(x).pow(2).sum().backward()
        grads.append(analog.weight.grad)
    assert not torch.equal(*grads)
    # Besides the gradient itself, some outputs round to another code of the ADC.
    assert (grads[0] - grads[1]).norm() < 0.01 * grads[1].norm()

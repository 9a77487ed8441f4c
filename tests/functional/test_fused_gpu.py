"""The GPU kernels compute what the readable chain computes on the CPU.

Without a GPU Triton interprets them, in a process of its own (``test_gpu_kernels_interpreted``).
"""

import os

import pytest
import torch
from torch import nn

from aimc_lightning import TileConfig, convert_to_analog
from aimc_lightning.functional import crossbar
from aimc_lightning.functional.crossbar import crossbar_weights
from aimc_lightning.functional.noise import NoiseLaw, noisy_weight
from tests.helpers.twins import (
    STANDARD,
    Twins,
    agree,
    check_frozen,
    check_output_noise,
    every_product,
    output_gradient,
)

pytest.importorskip("triton")
from aimc_lightning.functional import kernels
from aimc_lightning.functional.fused_weights_gpu import gpu_weights

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
HALF = 2**-7  # a tie may fall the other way; the interpreter cuts bfloat16 off instead of rounding
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (CUDA or INTERPRETED), reason="needs an accelerator"),
]


@pytest.fixture(autouse=True)
def _exact_products(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def _twins(name, p, **settings):
    return Twins(name, p, device="gpu", **settings)


def _step(twins):
    return twins.s * twins.gamma * twins.c * twins.p.adc_step


@every_product
@pytest.mark.parametrize("effects", [
    {}, {"ir_drop_scale": 0.0}, {"decay": 0.0}, {"dac_steps": 62, "adc_steps": 510},
    {"out_bound": 0.5},
], ids=str)  # fmt: skip
def test_kernels_agree_with_the_chain(name, effects):
    twins = _twins(name, STANDARD._replace(**effects))
    agree(twins.run(True), twins.run(False), _step(twins))


@every_product
def test_kernels_agree_when_the_product_is_in_bfloat16(name):
    twins = _twins(name, STANDARD)
    twins.weights = twins.weights._replace(weight=twins.weights.weight.bfloat16())
    agree(twins.run(True), twins.run(False), _step(twins))


@every_product
def test_kernels_agree_for_any_memory_layout(name):
    twins = _twins(name, STANDARD)
    expected = twins.run(False)
    layouts = [
        twins.x.repeat_interleave(2, -1)[..., ::2],
        twins.x.transpose(0, -1).contiguous().transpose(0, -1),
    ]
    if twins.x.dim() == 4:
        layouts.append(twins.x.contiguous(memory_format=torch.channels_last))
    for x in layouts:
        agree(twins.run(True, x), expected, _step(twins))


@every_product
def test_kernels_repeat_with_the_same_generator(name):
    twins = _twins(name, STANDARD, quiet=False)
    assert torch.equal(twins.run(True, seed=3)[0], twins.run(True, seed=3)[0])
    assert not torch.equal(twins.run(True, seed=3)[0], twins.run(True, seed=4)[0])


@every_product
@pytest.mark.parametrize("frozen", range(4))
def test_kernels_give_no_gradient_to_frozen_tensors(name, frozen):
    check_frozen(_twins(name, STANDARD), frozen, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # numpy's, interpreted
def test_not_a_number_reaches_the_output():
    twins = _twins("linear", STANDARD)
    x = twins.x.clone()
    x[3, 4] = torch.nan
    assert torch.isnan(twins.forward(True, twins.leaves(x))[3]).all()


def test_gradient_of_the_gradient_is_that_of_the_chain():
    twins = _twins("linear", STANDARD._replace(decay=0.0))
    results = []
    for fused in (True, False):
        leaves = twins.leaves()
        y = twins.forward(fused, leaves)
        incoming = output_gradient(y).requires_grad_()
        (grad,) = torch.autograd.grad(y, leaves[:1], incoming, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), incoming)[0])
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_noise_of_the_kernels_is_normal():
    check_output_noise(DEVICE)


def test_read_noise_has_the_variance_of_the_chain():
    # 400 rows of the same inputs: the standard error of a deviation is 3.5 % for one output, and
    # 3.5 % / sqrt(7) for their mean ratio; the chain's draws have the same.
    twins = _twins(
        "linear", STANDARD._replace(adc_steps=65534, out_bound=40.0, read_noise_std=0.3),
        quiet=False,
    )  # fmt: skip
    leaves = twins.leaves(twins.x[:1].expand(400, -1).contiguous())
    stds = [twins.forward(fused, leaves).detach().std(0) for fused in (True, False)]
    assert float((stds[0] / stds[1]).mean()) == pytest.approx(1, abs=5 * 0.035 * (2 / 7) ** 0.5)


LAWS = {
    "none": NoiseLaw(),
    "additive": NoiseLaw("additive", 0.06, 0.9),
    "polynomial": NoiseLaw("polynomial", 0.5, 0.9, (0.1, 0.2, -0.3)),
    "programming": NoiseLaw("programming", 3.0, 0.9),
    "pcm": NoiseLaw("pcm", 3.0, 0.9),
}


@pytest.mark.parametrize("name", LAWS)
def test_weights_have_the_distribution_of_their_law(name):
    # 4,000 draws of each of five weights; five standard errors of mean and deviation, whose
    # reference is drawn as well.
    n, law = 4000, LAWS[name]
    weight = torch.tensor([0.0, 0.1, -0.4, 0.9, -0.9])[:, None].expand(5, n).contiguous()
    scale = torch.full((5,), 2.0)
    ours = gpu_weights(
        (2 * weight).to(DEVICE), scale.to(DEVICE), STANDARD, law,
        generator=torch.Generator(DEVICE).manual_seed(1),
    )  # fmt: skip
    expected = noisy_weight(
        weight, law.kind, law.std, w_max=law.w_max, coefficients=law.coefficients,
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    found = ours.weight.cpu()
    std = expected.std(1)
    assert ((found.mean(1) - expected.mean(1)).abs() <= 7.1 * std / n**0.5 + 1e-6).all()
    assert ((found.std(1) - std).abs() <= 7.1 * std / (2 * n) ** 0.5 + 1e-6).all()
    centred = found - found.mean(1, keepdim=True)
    for first, second in ((centred[1], centred[3]), (centred[2, 1:], centred[2, :-1])):
        limit = 5 * float(first.std() * second.std()) / n**0.5
        assert abs(float((first * second).mean())) <= limit + 1e-5
    derived = crossbar_weights(found, STANDARD)
    for key in ("magnitude", "positioned", "squares"):
        mine, theirs = getattr(ours, key).cpu(), getattr(derived, key)
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=HALF, atol=1e-6)
    assert ours.magnitude is ours.squares


def _trained(cls, config, *, fused):
    """Return output and all gradients of a recurrent layer, on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "HAS_GPU_KERNELS", fused)
        torch.manual_seed(0)
        net = nn.ModuleDict({"layer": cls(20, 12, 2)})
        x = torch.randn(5, 3, 20)
        convert_to_analog(net, config)
        net.to(DEVICE if fused else "cpu").train()
        x = x.to(DEVICE if fused else "cpu").requires_grad_()
        y = net["layer"](x)[0]
        y.backward(output_gradient(y.cpu()).to(y.device))
        gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
        return {"y": y.detach(), "x": x.grad, **gradients}


@pytest.mark.parametrize("cls", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_agree_with_the_chain(cls, monkeypatch):
    # Corrections in bfloat16 as under noise, but without any, so that both see the same numbers.
    monkeypatch.setattr(crossbar, "auxiliary_dtype", lambda p, w: torch.bfloat16)
    config = TileConfig().with_values(
        {
            "mapping.max_inputs": 7, "weight_noise.type": "none", "noise.read_std": 0.0,
            "noise.output_std": 0.0, "input_range.init_batches": 0, "input_range.initial": 0.5,
            "adc.bits": 14, "dac.bits": 14,
        }
    )  # fmt: skip
    ours, expected = (_trained(cls, config, fused=fused) for fused in (True, False))
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        error = (ours[name].cpu() - value).norm() / value.norm().clamp(min=1e-6)
        assert float(error) < 0.01, name


def test_kernels_serve_a_recurrent_layer_with_the_standard_config():
    served = []
    with pytest.MonkeyPatch.context() as patch:
        step = kernels.gpu_step
        patch.setattr(kernels, "gpu_step", lambda *a: served.append(1) or step(*a))
        net = nn.ModuleDict({"layer": nn.LSTM(20, 12)})
        convert_to_analog(net, TileConfig())
        net.to(DEVICE)["layer"](torch.randn(5, 3, 20, device=DEVICE))
    assert len(served) == 5

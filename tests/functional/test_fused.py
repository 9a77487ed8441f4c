"""The CPU kernels compute what the readable chain computes."""

import pytest
import torch
from torch import Tensor

from aimc_lightning.functional import kernels
from aimc_lightning.functional.cpu_layout import border
from aimc_lightning.functional.crossbar import Periphery, crossbar_weights
from aimc_lightning.functional.product import LinearProduct, Product
from tests.helpers.twins import (
    STANDARD,
    Twins,
    agree,
    check_frozen,
    check_output_noise,
    every_product,
    output_gradient,
)

pytest.importorskip("numba")
from aimc_lightning.functional.fused_backward import _sums_of_few


@every_product
@pytest.mark.parametrize("effects", [
    {}, {"ir_drop_scale": 0.0}, {"decay": 0.0}, {"dac_steps": 62, "adc_steps": 510},
    {"out_bound": 0.5},
], ids=str)  # fmt: skip
def test_kernels_agree_with_the_chain(name, effects):
    twins = Twins(name, STANDARD._replace(**effects))
    step = twins.s * twins.gamma * twins.c * twins.p.adc_step
    agree(twins.run(True), twins.run(False), step)


@every_product
def test_kernels_agree_for_any_memory_layout(name):
    twins = Twins(name, STANDARD)
    expected = twins.run(False)
    step = twins.s * twins.gamma * twins.c * twins.p.adc_step
    strided = twins.x.repeat_interleave(2, -1)[..., ::2]
    layouts = [strided, twins.x.transpose(0, -1).contiguous().transpose(0, -1)]
    if twins.x.dim() == 4:
        layouts.append(twins.x.contiguous(memory_format=torch.channels_last))
    for x in layouts:
        agree(twins.run(True, x), expected, step)


@every_product
def test_kernels_agree_with_the_chain_when_the_product_is_in_bfloat16(name):
    twins = Twins(name, STANDARD)
    twins.weights = twins.weights._replace(weight=twins.weights.weight.bfloat16())
    agree(twins.run(True), twins.run(False), twins.s * twins.gamma * twins.c * twins.p.adc_step)


@every_product
def test_noise_of_the_kernels_has_the_moments_of_the_chain(name):
    # 200 passes each; the errors of mean and deviation, in standard errors, are averaged over all
    # outputs (at least 7): their root mean square is 1, the deviations' ratio 1 within 5 errors.
    twins = Twins(name, STANDARD._replace(adc_steps=65534, out_bound=40.0), quiet=False)
    leaves = twins.leaves()
    with torch.no_grad():
        draws = [
            torch.stack([twins.forward(fused, leaves, seed) for seed in range(200)])
            for fused in (True, False)
        ]
    mean, std = [d.mean(0) for d in draws], [d.std(0) for d in draws]
    error = std[1] * (2 / 200) ** 0.5
    assert float(((mean[0] - mean[1]) / error).square().mean().sqrt()) < 1 + 5 * 0.27
    tolerance = 5 * (1 / 200 / std[0].numel()) ** 0.5
    assert float((std[0] / std[1]).mean()) == pytest.approx(1, abs=tolerance + 0.01)


@every_product
@pytest.mark.parametrize("frozen", range(4))
def test_kernels_give_no_gradient_to_frozen_tensors(name, frozen):
    check_frozen(Twins(name, STANDARD), frozen, rtol=1e-5, atol=1e-6)


@every_product
def test_kernels_leave_inputs_and_gradients_untouched_and_run_backward_twice(name):
    twins = Twins(name, STANDARD)
    leaves = twins.leaves()
    y = twins.forward(True, leaves)
    dy = output_gradient(y)
    first = torch.autograd.grad(y, leaves, dy, retain_graph=True)
    second = torch.autograd.grad(y, leaves, dy)
    assert all(map(torch.equal, first, second))
    assert torch.equal(dy, output_gradient(y))
    assert torch.equal(leaves[0], twins.x)
    assert torch.equal(leaves[1], twins.weight)


@pytest.mark.parametrize("fused", [True, False])
@every_product
def test_not_a_number_reaches_the_output(name, fused):
    twins = Twins(name, STANDARD)
    x = twins.x.clone()
    x.view(-1)[len(x.view(-1)) // 2] = torch.nan
    assert torch.isnan(twins.forward(fused, twins.leaves(x))).any()


def test_noise_of_the_kernels_is_normal():
    check_output_noise("cpu")


@every_product
def test_kernels_repeat_with_the_same_generator(name):
    twins = Twins(name, STANDARD, quiet=False)
    assert all(map(torch.equal, twins.run(True, seed=3), twins.run(True, seed=3)))
    assert not torch.equal(twins.run(True, seed=3)[0], twins.run(True, seed=4)[0])


def test_numbers_of_the_kernels_do_not_depend_on_threads():
    twins = Twins("conv", STANDARD, quiet=False)
    threads = torch.get_num_threads()
    x = torch.randn(64, 4, 9, 8, generator=torch.Generator().manual_seed(5))
    results = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(twins.run(True, x))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])


def _served(p: Periphery, product: Product, x: Tensor, weight: Tensor) -> bool:
    return kernels.can_fuse(x, crossbar_weights(weight, p), p, product)


@pytest.mark.parametrize("change", [
    {"dac_stochastic": True}, {"adc_stochastic": True}, {"input_noise_std": 0.1},
    {"input_asymmetry": 0.1}, {"output_asymmetry": 0.1}, {"r_series": 0.1},
    {"v_offset": torch.zeros(7)}, {"steepness": torch.zeros(7)}, {"dac_steps": None},
    {"adc_steps": None}, {"clip_input": False}, {"noise_management": "abs_max"},
    {"bound_management": "iterative"}, {"output_noise_std": 0.0},
])  # fmt: skip
def test_effects_beyond_the_standard_take_the_readable_chain(change):
    x, weight = torch.ones(2, 5), torch.ones(7, 5)
    assert _served(STANDARD, LinearProduct(), x, weight)
    assert not _served(STANDARD._replace(**change), LinearProduct(), x, weight)
    assert not _served(STANDARD, LinearProduct(), x.double(), weight)
    assert not _served(STANDARD, LinearProduct(), x[:0], weight)


@pytest.mark.parametrize("name", ["linear", "one row", "more axes"])
@pytest.mark.parametrize("c", [0.7, 2.9, 9.0], ids=["many clipped", "few", "none"])
def test_range_learns_the_same_where_no_gradient_of_the_inputs_is_wanted(name, c):
    twins = Twins(name, STANDARD._replace(out_bound=40.0, adc_steps=65534), c=c)
    first = twins.x.view(-1)[0]
    first.fill_(2.95)  # one input beyond the range of 2.9
    whole, part = twins.leaves(), twins.leaves()
    part[0].requires_grad_(False)
    for leaves in (whole, part):
        y = twins.forward(True, leaves)
        y.backward(output_gradient(y))
    assert part[0].grad is None
    for ours, expected in zip(part[1:], whole[1:], strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)


def test_gradients_of_few_clipped_inputs_need_no_whole_product():
    generator = torch.Generator().manual_seed(2)
    x, grad, weight = (
        torch.randn(shape, generator=generator) for shape in ((512, 64), (512, 9), (9, 64))
    )
    inputs = border(x, LinearProduct())
    sums = _sums_of_few(inputs, grad, weight, 1 / 3)
    assert sums is not None
    relative = x / 3
    outside = relative.abs() >= 1
    expected = (relative.sign() * (grad @ weight))[outside].clamp(max=0).sum()
    torch.testing.assert_close(sums[0], expected)
    assert int(sums[1]) == int(outside.sum()) > 0
    assert _sums_of_few(inputs, grad, weight, 1.0) is None  # a third of all is not few

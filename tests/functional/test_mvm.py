"""The product of one tile with its digital scales, and the gradients of all it learns."""

import numpy as np
import pytest
import torch
from torch import Tensor

from aimc_lightning.functional import kernels
from aimc_lightning.functional.crossbar import Periphery, crossbar_weights
from aimc_lightning.functional.mvm import PreparedTile, analog_mvm
from aimc_lightning.functional.product import ConvProduct, LinearProduct
from tests.helpers import reference_mvm as reference

INPUTS, OUTPUTS, BATCH = 20, 5, 64
RNG = np.random.default_rng(0)
W_LOGICAL = RNG.normal(0, 0.3, (OUTPUTS, INPUTS))
S = np.abs(W_LOGICAL).max(1)
W = W_LOGICAL / S[:, None]
X, DY = RNG.normal(0, 1, (BATCH, INPUTS)), RNG.normal(0, 1, (BATCH, OUTPUTS))
GAMMA = RNG.uniform(0.5, 2, OUTPUTS)
C = 1.3

CHAINS = {
    "nothing": {},
    "dac": {"dac_steps": 30},
    "bound": {"out_bound": 1.5},
    "adc": {"adc_steps": 254, "out_bound": 1.5},
    "dac and adc": {"dac_steps": 254, "adc_steps": 254, "out_bound": 1.5},
    "9-bit adc": {"adc_steps": 510, "out_bound": 1.5},
}


class Tile:
    """Leaf tensors of one tile and its product, in one dtype."""

    def __init__(self, p: Periphery, dtype: torch.dtype = torch.float64, c: float = C) -> None:
        self.p = p
        self.x = torch.tensor(X, dtype=dtype, requires_grad=True)
        self.weight = torch.tensor(W_LOGICAL, dtype=dtype, requires_grad=True)
        self.c = torch.tensor(c, dtype=dtype, requires_grad=True)
        self.gamma = torch.tensor(GAMMA, dtype=dtype, requires_grad=True)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.s = torch.tensor(S, dtype=wide)  # as tiles compute it
        self.weights = crossbar_weights(torch.tensor(W, dtype=wide), p)

    def run(self, x: Tensor | None = None, seed: int = 0) -> Tensor:
        return analog_mvm(
            self.x if x is None else x, self.weight, self.c, self.gamma,
            PreparedTile(self.weights, self.s, self.p), LinearProduct(),
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip

    def gradients(self, y: Tensor, dy: Tensor | None = None, **options: bool) -> list[Tensor]:
        dy = torch.tensor(DY, dtype=y.dtype) if dy is None else dy
        leaves = (self.x, self.weight, self.c, self.gamma)
        return list(torch.autograd.grad(y, leaves, dy, **options))


def _reference(name: str) -> dict:
    chain = {"dac_steps": None, "adc_steps": None, "out_bound": None, **CHAINS[name]}
    return reference.gradients(W, X, DY, C, S, GAMMA, **chain)


@pytest.mark.parametrize("name", CHAINS)
def test_output_agrees_with_the_reference(name):
    y = Tile(Periphery(**CHAINS[name])).run()
    np.testing.assert_allclose(y.detach().numpy(), _reference(name)["y"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CHAINS)
def test_gradients_agree_with_the_straight_through_rule(name):
    tile, expected = Tile(Periphery(**CHAINS[name])), _reference(name)
    ours = tile.gradients(tile.run())
    for gradient, key in zip(ours, ("x", "weight", "range", "gamma"), strict=True):
        np.testing.assert_allclose(gradient.numpy(), expected[key], rtol=1e-9, atol=1e-11)


def test_weight_gradient_is_dy_times_clipped_input_in_logical_units():
    tile = Tile(Periphery(clip_input=True))
    _, grad_weight, _, _ = tile.gradients(tile.run())
    expected = (DY * GAMMA).T @ X.clip(-C, C)
    np.testing.assert_allclose(grad_weight.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["nothing", "bound"])
def test_gradients_without_rounding_are_true(name):
    # Mapping scales are constants of the step, hence fixed here.
    p, s = Periphery(**CHAINS[name]), torch.tensor(S)

    def product(x: Tensor, weight: Tensor, gamma: Tensor) -> Tensor:
        weights = crossbar_weights((weight / s[:, None]).detach(), p)
        c = torch.tensor(C, dtype=torch.float64)
        return analog_mvm(x, weight, c, gamma, PreparedTile(weights, s, p), LinearProduct())

    tile = Tile(p)
    assert torch.autograd.gradcheck(product, (tile.x[:8], tile.weight, tile.gamma))


def test_gradient_under_constant_noise_management_is_true():
    p, s = Periphery(noise_management="constant", nm_threshold=3.0), torch.tensor(S)

    def product(x: Tensor, weight: Tensor, gamma: Tensor) -> Tensor:
        weights = crossbar_weights((weight / s[:, None]).detach(), p)
        c = torch.tensor(1.0, dtype=torch.float64)
        return analog_mvm(x, weight, c, gamma, PreparedTile(weights, s, p), LinearProduct())

    tile = Tile(p)
    assert torch.autograd.gradcheck(product, (tile.x[:8], tile.weight, tile.gamma))


def test_dynamic_factor_is_a_constant_of_the_gradient():
    p = Periphery(noise_management="abs_max", clip_input=False)
    tile = Tile(p, c=1.0)
    grad_x, grad_weight, _, _ = tile.gradients(tile.run())
    np.testing.assert_allclose(grad_x.numpy(), (DY * GAMMA * S) @ W, rtol=1e-10)
    np.testing.assert_allclose(grad_weight.numpy(), (DY * GAMMA).T @ X, rtol=1e-10, atol=1e-12)


def test_gradient_passes_through_the_disturbed_weights():
    p = Periphery(read_noise_std=0.1, output_noise_std=0.1, clip_input=False)
    tile = Tile(p)
    disturbed = torch.tensor(W) * 1.1
    tile.weights = crossbar_weights(disturbed, p)
    grad_x = tile.gradients(tile.run())[0]
    np.testing.assert_allclose(grad_x.numpy(), (DY * GAMMA * S) @ disturbed.numpy(), rtol=1e-10)


def test_output_scale_gradient_sees_the_noisy_output():
    p = Periphery(output_noise_std=0.5, dac_steps=254)
    tile = Tile(p)
    y = tile.run()
    grad_gamma = tile.gradients(y)[3]
    expected = (DY * (y.detach().numpy() / GAMMA)).sum(0)
    np.testing.assert_allclose(grad_gamma.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("name", CHAINS)
def test_second_backward_pass_through_a_kept_graph_is_the_same(name):
    tile = Tile(Periphery(**CHAINS[name]))
    y = tile.run()
    first = tile.gradients(y, retain_graph=True)
    assert all(map(torch.equal, first, tile.gradients(y)))


def test_output_gradient_is_left_untouched():
    tile, dy = Tile(Periphery(**CHAINS["dac and adc"])), torch.tensor(DY)
    tile.gradients(tile.run(), dy)
    assert torch.equal(dy, torch.tensor(DY))


def test_inputs_are_left_untouched():
    tile = Tile(Periphery(**CHAINS["dac and adc"]))
    tile.gradients(tile.run())
    assert torch.equal(tile.x, torch.tensor(X))


def test_negative_range_counts_by_its_magnitude():
    positive, negative = (Tile(Periphery(dac_steps=254), c=c) for c in (C, -C))
    y = negative.run()
    assert torch.equal(positive.run(), y)
    grad = negative.gradients(y)
    expected = positive.gradients(positive.run())
    assert torch.equal(grad[2], -expected[2])
    assert torch.equal(grad[0], expected[0])


def test_range_gradient_includes_the_decay():
    p = Periphery(decay=0.1, min_percentage=0.1)
    tile = Tile(p)
    plain = Tile(p._replace(decay=0.0))
    difference = tile.gradients(tile.run())[2] - plain.gradients(plain.run())[2]
    assert float(difference) == pytest.approx(0.1 * C)


def test_one_scale_for_all_outputs_has_the_summed_gradient():
    tile = Tile(Periphery())
    tile.gamma = torch.tensor([1.5], dtype=torch.float64, requires_grad=True)
    tile.s = torch.tensor([0.7], dtype=torch.float64)
    y = tile.run()
    grad = tile.gradients(y)[3]
    assert grad.shape == (1,)
    assert float(grad) == pytest.approx(float((torch.tensor(DY) * y.detach() / 1.5).sum()))


@pytest.mark.parametrize("frozen", ["x", "weight", "c", "gamma"])
def test_frozen_tensor_gets_no_gradient_and_changes_no_other(frozen):
    p = Periphery(**CHAINS["dac and adc"])
    whole, part = Tile(p), Tile(p)
    whole.run().backward(torch.tensor(DY))
    getattr(part, frozen).requires_grad_(False)
    part.run().backward(torch.tensor(DY))
    for name in ("x", "weight", "c", "gamma"):
        ours, expected = getattr(part, name).grad, getattr(whole, name).grad
        assert ours is None if name == frozen else torch.equal(ours, expected)


def test_nothing_is_recorded_without_gradients():
    with torch.no_grad():
        assert not Tile(Periphery()).run().requires_grad


@pytest.mark.parametrize(
    "shape", [(INPUTS,), (1, INPUTS), (0, INPUTS), (2, 3, INPUTS), (2, 0, INPUTS)]
)
@pytest.mark.parametrize("management", ["none", "abs_max"])
def test_any_leading_axes_work_with_gradients(shape, management):
    p = Periphery(
        dac_steps=254, adc_steps=254, out_bound=5.0, read_noise_std=0.1, decay=0.01,
        ir_drop_scale=1.0, ir_drop_g_ratio=1e4, noise_management=management,
    )  # fmt: skip
    tile = Tile(p)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = tile.run(x)
    y.sum().backward()
    assert y.shape == (*shape[:-1], OUTPUTS)
    for leaf in (x, tile.weight, tile.c, tile.gamma):
        assert leaf.grad.shape == leaf.shape
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_of_output_and_gradients_follows_the_inputs(dtype):
    p = Periphery(dac_steps=254, adc_steps=254, out_bound=10.0, output_noise_std=0.04)
    tile = Tile(p, dtype)
    y = tile.run()
    assert y.dtype == dtype
    assert [grad.dtype for grad in tile.gradients(y)] == [dtype] * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_keep_their_meaning(dtype):
    p = Periphery(dac_steps=254, adc_steps=254, out_bound=10.0)
    half, full = Tile(p, dtype), Tile(p, torch.float32)
    full.c, full.gamma = half.c.detach().float(), half.gamma.detach().float()
    expected = full.run(half.x.detach().float())
    assert torch.equal(half.run().detach(), expected.to(dtype))


def test_autocast_sets_the_output_type_and_changes_no_converter_code():
    p = Periphery(dac_steps=254, adc_steps=254, out_bound=10.0, ir_drop_scale=1.0,
                  ir_drop_g_ratio=1e4)  # fmt: skip
    tile = Tile(p, torch.float32)
    expected = tile.run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = tile.run()
    assert y.dtype == torch.bfloat16
    assert torch.equal(y.detach(), expected.detach().bfloat16())


def test_backward_within_autocast_gives_gradients_in_the_leaves_types():
    tile = Tile(Periphery(dac_steps=254, adc_steps=254, out_bound=10.0), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = tile.run()
    gradients = tile.gradients(y)
    expected = tile.gradients(tile.run(), torch.tensor(DY).bfloat16().float())
    for ours, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("fused", [False, kernels.HAS_CPU_KERNELS])
def test_product_and_its_gradients_are_in_bfloat16_under_autocast(fused, monkeypatch):
    monkeypatch.setattr(kernels, "HAS_CPU_KERNELS", fused)
    p = Periphery(dac_steps=254, adc_steps=254, out_bound=10.0, output_noise_std=0.04)
    tile = Tile(p, torch.float32)
    expected = tile.run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = tile.run()
    node = y.grad_fn if fused else y.grad_fn.next_functions[0][0]  # the chain's result is cast
    saved = node.saved_tensors
    assert saved[4].dtype == torch.bfloat16  # its weights
    step = (tile.c * tile.gamma * tile.s * p.adc_step).max().item()
    assert (y - expected).abs().max() < 1.01 * step + 2**-8 * expected.abs().max()
    for ours, other in zip(tile.gradients(y), tile.gradients(expected), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, other, rtol=0.02, atol=0.02 * other.abs().max().item())


def test_same_generator_gives_the_same_output():
    tile = Tile(Periphery(read_noise_std=0.1, output_noise_std=0.04))
    assert torch.equal(tile.run(seed=4), tile.run(seed=4))
    assert not torch.equal(tile.run(seed=4), tile.run(seed=5))


@pytest.mark.parametrize("settings", [
    ((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 1), (1, 2), 1), ((1, 1), (1, 0), (1, 1), 2),
])  # fmt: skip
@pytest.mark.parametrize("name", CHAINS)
def test_convolution_learns_like_a_linear_layer_over_patches(settings, name):
    p, groups = Periphery(**CHAINS[name]), settings[3]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64, generator=generator)
    weight = torch.randn(6, 4 // groups, 3, 2, dtype=torch.float64, generator=generator)
    gamma, c = torch.rand(6, dtype=torch.float64, generator=generator), torch.tensor(1.5).double()

    def run(product: ConvProduct | None) -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in (x, weight, c, gamma)]
        s = weight.abs().amax((1, 2, 3))
        if product is not None:
            weights = crossbar_weights(weight / s.view(-1, 1, 1, 1), p)
            y = analog_mvm(*leaves, PreparedTile(weights, s, p), product)
            y = y.flatten(2)
        else:
            stride, padding, dilation, _ = settings
            patches = torch.nn.functional.unfold(leaves[0], (3, 2), dilation, padding, stride)
            rows = patches.movedim(1, 2).unflatten(2, (groups, -1))
            parts = []
            for group in range(groups):
                own = slice(group * 6 // groups, (group + 1) * 6 // groups)
                flat = leaves[1][own].flatten(1)
                weights = crossbar_weights(flat.detach() / s[own, None], p)
                parts.append(analog_mvm(
                    rows[:, :, group], flat, leaves[2], leaves[3][own],
                    PreparedTile(weights, s[own], p), LinearProduct(),
                ))  # fmt: skip
            y = torch.cat(parts, -1).movedim(1, 2)
        dy = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
        return [y.detach(), *torch.autograd.grad(y, [leaves[0], *leaves[1:]], dy)]

    ours, expected = run(ConvProduct(*settings)), run(None)
    # The range sees each input once in a convolution, and once per patch when unfolded.
    for index in (0, 2, 4):
        torch.testing.assert_close(ours[index], expected[index], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(ours[1], expected[1], rtol=1e-9, atol=1e-10)

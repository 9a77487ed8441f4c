"""The kernel makes the weights that the readable functions make."""

import pytest
import torch
from torch import Tensor

from aimc_lightning.functional import noise
from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery, crossbar_weights

pytest.importorskip("numba")
from aimc_lightning.functional.cpu_weights import row_normals
from aimc_lightning.functional.fused_weights import NoiseLaw, can_fuse_weights, fused_weights

STANDARD = Periphery(
    dac_steps=254, adc_steps=254, out_bound=4.0, ir_drop_scale=1.0, ir_drop_g_ratio=4000.0,
    read_noise_std=0.0175, output_noise_std=0.04,
)  # fmt: skip
LAWS = {
    "none": NoiseLaw(),
    "additive": NoiseLaw("additive", 0.06, 0.9),
    "polynomial": NoiseLaw("polynomial", 0.5, 0.9, (0.1, 0.2, -0.3)),
    "line": NoiseLaw("polynomial", 0.5, 1.0, (0.1, 0.2)),
    "programming": NoiseLaw("programming", 3.0, 0.9),
    "pcm": NoiseLaw("pcm", 3.0, 0.9),
}
SHAPES = {"matrix": (33, 70), "kernel": (9, 4, 3, 3), "one output": (1, 65), "one input": (70, 1)}


def _weight(shape: tuple[int, ...]) -> Tensor:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weight.view(-1)[3::17] = 0.0
    return weight


def _scale(weight: Tensor, law: NoiseLaw) -> Tensor:
    largest = weight.abs().flatten(1).amax(1) / law.w_max
    return torch.where(largest > 0, largest, 1.0)


def _readable(weight: Tensor, scale: Tensor, p: Periphery, law: NoiseLaw) -> CrossbarWeights:
    """Return what the definition makes of the numbers that the kernel draws."""
    seed = int(torch.randint(0, 2**63 - 1, (), generator=torch.Generator().manual_seed(4)))
    normals = torch.empty(weight.numel())
    row_normals(len(weight), weight[0].numel(), seed & 0xFFFFFFFF, seed >> 32, normals.numpy())
    normalized = weight / scale.view(-1, *(1,) * (weight.dim() - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            noise, "standard_normal_like", lambda x, generator: normals.clone().view(x.shape)
        )
        noisy = noise.noisy_weight(
            normalized, law.kind, law.std, w_max=law.w_max, coefficients=law.coefficients
        )
    return crossbar_weights(noisy, p)


def _fused(weight: Tensor, scale: Tensor, p: Periphery, law: NoiseLaw) -> CrossbarWeights:
    return fused_weights(weight, scale, p, law, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", LAWS)
def test_kernel_equals_the_definition_for_the_same_random_numbers(name, shape):
    law, weight = LAWS[name], _weight(shape)
    scale = _scale(weight, law)
    ours, expected = (f(weight, scale, STANDARD, law) for f in (_fused, _readable))
    torch.testing.assert_close(ours.weight, expected.weight, rtol=0, atol=5e-7)
    for key in ("magnitude", "positioned", "squares"):
        mine, theirs = getattr(ours, key), getattr(expected, key)
        assert mine.dtype == theirs.dtype == torch.bfloat16
        # Rounding in float32 may move a value over a tie of bfloat16.
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=2**-8, atol=1e-6)
        assert (mine == theirs).double().mean() > 0.98
    assert ours.in_features == expected.in_features
    assert ours.magnitude is ours.squares


def test_weights_without_noise_are_exact():
    weight = _weight((33, 70))
    scale = _scale(weight, NoiseLaw())
    ours, expected = (f(weight, scale, STANDARD, NoiseLaw()) for f in (_fused, _readable))
    for key in ("weight", "magnitude", "positioned", "squares"):
        assert torch.equal(getattr(ours, key), getattr(expected, key))


@pytest.mark.parametrize("off", [{"ir_drop_scale": 0.0}, {"read_noise_std": 0.0}])
def test_what_no_effect_needs_is_not_made(off):
    p, weight = STANDARD._replace(**off), _weight((33, 70))
    ours, expected = (f(weight, _scale(weight, NoiseLaw()), p, NoiseLaw())
                      for f in (_fused, _readable))  # fmt: skip
    for key in ("magnitude", "positioned", "squares"):
        assert (getattr(ours, key) is None) == (getattr(expected, key) is None)


def test_part_of_a_larger_matrix_is_read_in_place():
    whole, law = _weight((33, 100)), LAWS["pcm"]
    part = whole[:, 20:90]
    scale = _scale(part, law)
    ours, expected = (_fused(w, scale, STANDARD, law) for w in (part, part.contiguous()))
    assert torch.equal(ours.weight, expected.weight)
    assert ours.weight.is_contiguous()


def test_columns_with_gaps_are_read_as_well():
    weight, law = _weight((70, 33)).T, LAWS["pcm"]
    scale = _scale(weight, law)
    ours, expected = (_fused(w, scale, STANDARD, law) for w in (weight, weight.contiguous()))
    assert torch.equal(ours.weight, expected.weight)


def test_numbers_do_not_depend_on_threads():
    weight, law = _weight((300, 700)), LAWS["pcm"]
    scale = _scale(weight, law)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = _fused(weight, scale, STANDARD, law)
        torch.set_num_threads(2)
        second = _fused(weight, scale, STANDARD, law)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first.weight, second.weight)


def test_the_weights_themselves_are_left_untouched():
    weight = _weight((33, 70))
    before = weight.clone()
    _fused(weight, _scale(weight, LAWS["pcm"]), STANDARD, LAWS["pcm"])
    assert torch.equal(weight, before)


def test_noise_has_the_law_of_the_definition():
    # 2e5 draws at three weights: standard errors of 0.16 % for deviations, 5 of them allowed.
    weight = torch.tensor([-0.2, 0.5, 1.0]).repeat(200_000, 1)
    ours = _fused(weight, torch.ones(len(weight)), STANDARD, LAWS["pcm"]._replace(std=1.0))
    r = torch.tensor([0.2, 0.5, 1.0]) / 0.9
    expected = 0.9 * (0.26348 + 1.9650 * r - 1.1731 * r.square()) / 25
    torch.testing.assert_close(ours.weight[:, :2].std(0), expected[:2], rtol=0.008, atol=0)
    torch.testing.assert_close(ours.weight[:, :2].mean(0), weight[0, :2], rtol=0.003, atol=0)


@pytest.mark.parametrize(("weight", "p", "law"), [
    (torch.ones(3, 2, dtype=torch.float64), STANDARD, NoiseLaw()),
    (torch.ones(0, 2), STANDARD, NoiseLaw()),
    (torch.ones(3, 2), STANDARD._replace(output_noise_std=0.0), NoiseLaw()),
    (torch.ones(3, 2), STANDARD._replace(read_noise_type="constant"), NoiseLaw()),
    (torch.ones(3, 2), STANDARD, NoiseLaw("multiplicative", 0.1)),
    (torch.ones(3, 2), STANDARD, NoiseLaw("pcm", 1.0, t_inference_s=1.0)),
    (torch.ones(3, 2), STANDARD, NoiseLaw("polynomial", 1.0, 1.0, (0.1, 0.1, 0.1, 0.1))),
])  # fmt: skip
def test_what_the_kernel_does_not_know_is_left_to_the_definition(weight, p, law):
    assert not can_fuse_weights(weight, p, law)
    assert can_fuse_weights(torch.ones(3, 2), STANDARD, NoiseLaw())

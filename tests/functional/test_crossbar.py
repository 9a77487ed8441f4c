"""The signal chain from DAC to ADC: every effect alone and together, against the reference."""

import numpy as np
import pytest
import torch

from aimc_lightning.functional.crossbar import (
    CrossbarWeights,
    Periphery,
    auxiliary_dtype,
    crossbar_codes,
    crossbar_weights,
    dac_codes,
    product_dtype,
)
from aimc_lightning.functional.managed import managed_codes
from aimc_lightning.functional.product import ConvProduct, LinearProduct
from tests.helpers import reference_mvm as reference

INPUTS, OUTPUTS = 48, 6
RATIO = 4000.0  # a drop of some per cent already at this size
BOUND = 2.5  # some outputs hit it
RNG = np.random.default_rng(0)
W, X = RNG.uniform(-1, 1, (OUTPUTS, INPUTS)), RNG.normal(0, 0.7, (40, INPUTS))
V, N_I = RNG.uniform(0, 0.1, OUTPUTS), RNG.uniform(0.01, 0.1, OUTPUTS)

IR_DROP = {"ir_drop_scale": 1.0, "ir_drop_g_ratio": RATIO}
EFFECTS = {
    "nothing": {},
    "dac": {"dac_steps": 254},
    "coarse dac": {"dac_steps": 2},
    "input asymmetry": {"input_asymmetry": 0.2},
    "ir drop": IR_DROP,
    "ir drop of 3": {**IR_DROP, "ir_drop_scale": 3.0},
    "offset": {"v_offset": V},
    "offset without reference": {"v_offset": V, "v_offset_w_min": 0.0},
    "series resistance": {"r_series": 0.01},
    "s shape": {"steepness": N_I, "slope": 1.3},
    "output asymmetry": {"output_asymmetry": 0.3},
    "bound": {"out_bound": BOUND},
    "adc": {"adc_steps": 254, "out_bound": BOUND},
    "standard": {"dac_steps": 254, "adc_steps": 254, "out_bound": 10.0, **IR_DROP},
    "all": {
        "dac_steps": 126, "input_asymmetry": 0.1, **IR_DROP, "v_offset": V, "r_series": 0.01,
        "steepness": N_I, "slope": 1.2, "output_asymmetry": 0.1, "adc_steps": 510,
        "out_bound": BOUND,
    },
}  # fmt: skip


def _periphery(**values: object) -> Periphery:
    tensors = {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in values.items()
    }
    return Periphery(**tensors)


def _run(p: Periphery, x=X, w=W, dtype=torch.float64, seed=0, negative=None) -> np.ndarray:
    weight = torch.from_numpy(w).to(dtype)
    reverse = None if negative is None else torch.from_numpy(negative).to(dtype)
    codes = crossbar_codes(
        torch.from_numpy(np.array(x)).to(dtype), crossbar_weights(weight, p, reverse), p,
        LinearProduct(), generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    return (codes * p.adc_step).double().numpy()


def _expected(values: dict[str, object], x=X, w=W) -> np.ndarray:
    names = {"ir_drop_g_ratio": "ratio", "v_offset_w_min": "w_min"}
    return reference.chain(w, x, **{names.get(key, key): value for key, value in values.items()})


@pytest.mark.parametrize("name", EFFECTS)
def test_effect_agrees_with_the_reference(name):
    np.testing.assert_allclose(
        _run(_periphery(**EFFECTS[name])), _expected(EFFECTS[name]), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("name", EFFECTS)
def test_effect_in_single_precision_agrees_up_to_few_converter_steps(name):
    ours, expected = (
        _run(_periphery(**EFFECTS[name]), dtype=torch.float32),
        _expected(EFFECTS[name]),
    )
    close = np.isclose(ours, expected, rtol=0, atol=1e-5)
    assert close.mean() > 0.99
    np.testing.assert_allclose(ours, expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("kind", ["pcm", "constant"])
@pytest.mark.parametrize("name", EFFECTS)
def test_vanishing_noise_changes_no_effect(name, kind):
    # Guards against buffers that one stage overwrites while another still needs them.
    values = {**EFFECTS[name], "adc_steps": None, "dac_steps": None}
    noisy = _periphery(
        **values, read_noise_std=1e-12, read_noise_type=kind, input_noise_std=1e-12,
        output_noise_std=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(_run(noisy), _expected(values), rtol=0, atol=1e-9)


def test_nothing_on_is_the_plain_product_bit_for_bit():
    x, weight = torch.randn(7, 30), torch.randn(4, 30)
    p = Periphery(clip_input=False)
    codes = crossbar_codes(x.clone(), crossbar_weights(weight, p), p, LinearProduct())
    assert torch.equal(codes, torch.nn.functional.linear(x, weight))


def test_weights_are_left_untouched():
    p = _periphery(**EFFECTS["all"], read_noise_std=0.1)
    weight = torch.from_numpy(W.copy())
    weights = crossbar_weights(weight, p)
    before = [None if t is None else t.clone() for t in (weights.magnitude, weights.squares)]
    crossbar_codes(torch.from_numpy(X.copy()), weights, p, LinearProduct())
    assert torch.equal(weight, torch.from_numpy(W))
    assert torch.equal(weights.magnitude, before[0])
    assert torch.equal(weights.squares, before[1])


def _noise(p: Periphery, w: np.ndarray = W, x: np.ndarray | None = None) -> np.ndarray:
    """Return 1e5 outputs of one input vector, shape (draws, outputs)."""
    vector = X[0] if x is None else x
    return _run(p, np.broadcast_to(vector, (100_000, len(vector))), w)


def _check_noise(drawn: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
    # Five standard errors of mean and standard deviation of 1e5 normal draws.
    n = len(drawn)
    assert (np.abs(drawn.mean(0) - mean) < 5 * std / n**0.5).all()
    assert (np.abs(drawn.std(0) - std) < 5 * std / (2 * n) ** 0.5).all()


@pytest.mark.parametrize("kind", ["pcm", "constant"])
@pytest.mark.parametrize("dac_steps", [None, 62])
def test_read_noise_has_the_stated_spread(kind, dac_steps):
    p = Periphery(read_noise_std=0.0175, read_noise_type=kind, dac_steps=dac_steps)
    x_hat = reference.quantize(np.clip(X[0], -1, 1), dac_steps, 1.0)
    std = reference.read_noise_std(W, x_hat, 0.0175, kind)
    _check_noise(_noise(p), W @ x_hat, std)


def test_output_noise_has_the_stated_spread():
    _check_noise(_noise(Periphery(output_noise_std=0.04)), W @ X[0].clip(-1, 1), 0.04)


def test_output_noise_differs_between_columns_by_its_factor():
    factor = np.array([1.0, 0.5, -2.0, 0.0, 1.5, 3.0])
    p = _periphery(output_noise_std=0.04, output_noise_factor=factor)
    std = np.abs(0.04 * factor)
    drawn = _noise(p)
    _check_noise(np.delete(drawn, 3, 1), np.delete(W, 3, 0) @ X[0].clip(-1, 1), np.delete(std, 3))
    assert drawn[:, 3].std() < 1e-12


def test_input_noise_reaches_the_output_through_the_weights():
    std = 0.1 * np.linalg.norm(W, axis=1)
    _check_noise(_noise(Periphery(input_noise_std=0.1, dac_steps=254)), W @ reference.quantize(
        X[0].clip(-1, 1), 254, 1.0), std)  # fmt: skip


def test_noises_add_up_as_variances():
    p = Periphery(read_noise_std=0.05, output_noise_std=0.04, **IR_DROP)
    x_hat = X[0].clip(-1, 1)
    std = np.hypot(reference.read_noise_std(W, x_hat, 0.05, "pcm"), 0.04)
    _check_noise(_noise(p), W @ x_hat - reference.ir_drop(W, x_hat[None], 1.0, RATIO)[0], std)


def test_read_noise_passes_the_nonlinearity_and_output_noise_does_not():
    # A saturated S-shape (n_i z >> 1) flattens the noise before it by (1 + n_i z)**-2.
    w, x = np.ones((1, 16)), np.ones(16)
    steep = torch.tensor([1.0], dtype=torch.float64)
    before = _noise(Periphery(read_noise_std=0.01, steepness=steep), w, x)
    after = _noise(Periphery(output_noise_std=0.04, steepness=steep), w, x)
    assert before.std() == pytest.approx(0.01 * 4 / 17**2, rel=0.02)
    assert after.std() == pytest.approx(0.04, rel=0.012)


def test_output_noise_is_added_before_rounding():
    p = Periphery(output_noise_std=0.04, adc_steps=254, out_bound=10.0)
    levels = _noise(p) / p.adc_step
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-9)


def test_same_generator_gives_the_same_numbers_and_another_does_not():
    p = Periphery(
        dac_steps=254, dac_stochastic=True, input_noise_std=0.1, read_noise_std=0.1,
        output_noise_std=0.1, adc_steps=254, adc_stochastic=True, out_bound=10.0,
    )  # fmt: skip
    assert np.array_equal(_run(p, seed=1), _run(p, seed=1))
    assert not np.array_equal(_run(p, seed=1), _run(p, seed=2))


@pytest.mark.parametrize("name", ["nothing", "dac", "ir drop", "series resistance", "s shape"])
def test_negative_inputs_take_a_pass_of_their_own(name):
    reverse = W * 1.1
    values = {**EFFECTS[name]}
    shape = {key: values.pop(key) for key in ("steepness", "slope") if key in values}
    x_hat = reference.quantize(X.clip(-1, 1), values.pop("dac_steps", None), 1.0)
    z = _expected(values, x_hat.clip(min=0)) + _expected(values, x_hat.clip(max=0), reverse)
    expected = reference.s_shape(z, **shape) if shape else z
    ours = _run(_periphery(**EFFECTS[name]), negative=reverse)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_read_noise_of_two_passes_has_the_spread_of_one():
    p = Periphery(read_noise_std=0.05)
    x = np.broadcast_to(X[0], (100_000, INPUTS))
    x_hat = X[0].clip(-1, 1)
    std = reference.read_noise_std(W, x_hat, 0.05, "pcm")
    _check_noise(_run(p, x, negative=W), W @ x_hat, std)


def test_dac_codes_are_integers_without_input_noise():
    codes, step = dac_codes(torch.from_numpy(X.copy()), Periphery(dac_steps=254), None)
    assert step == 2 / 254
    assert torch.equal(codes, codes.round())


@pytest.mark.parametrize("out_std", [0.0, 0.04])
def test_small_corrections_use_half_precision_only_below_output_noise(out_std):
    p = Periphery(output_noise_std=out_std)
    assert auxiliary_dtype(p, torch.ones(1, dtype=torch.float64)) == torch.float64
    expected = torch.bfloat16 if out_std else torch.float32
    assert auxiliary_dtype(p, torch.ones(1)) == expected


def test_error_of_half_precision_corrections_is_far_below_the_output_noise():
    rng = np.random.default_rng(0)
    w, x = rng.uniform(-1, 1, (64, 512)), rng.normal(0, 0.4, (64, 512))
    quiet = Periphery(dac_steps=254, ir_drop_scale=1.0, ir_drop_g_ratio=571428.57)
    weight = torch.from_numpy(w).float()
    coarse = crossbar_weights(weight, quiet._replace(output_noise_std=0.04))
    assert coarse.positioned.dtype == torch.bfloat16
    ours = crossbar_codes(torch.from_numpy(x).float(), coarse, quiet, LinearProduct())
    expected = reference.chain(w, x, dac_steps=254, ir_drop_scale=1.0)
    error = ours.double().numpy() - expected
    assert np.sqrt((error**2).mean()) < 0.04 / 50


HALF = Periphery(dac_steps=254, output_noise_std=0.04, out_bound=12.0)


@pytest.mark.parametrize(
    ("change", "autocast", "expected"),
    [
        ({}, torch.bfloat16, torch.bfloat16),
        ({}, torch.float16, torch.float32),
        ({}, None, torch.float32),
        ({"output_noise_std": 0.02}, torch.bfloat16, torch.float32),
        ({"out_bound": 24.0}, torch.bfloat16, torch.float32),
        ({"out_bound": None}, torch.bfloat16, torch.float32),
    ],
)
def test_product_follows_autocast_where_its_rounding_stays_within_the_noise(
    change, autocast, expected
):
    p = HALF._replace(**change)
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        assert product_dtype(p, torch.ones(1)) == expected
        assert product_dtype(p, torch.ones(1, dtype=torch.float64)) == torch.float64


def test_error_of_a_half_precision_product_is_below_a_third_of_the_output_noise():
    # Weights and inputs that fill the whole range of the ADC, as those of real layers hardly do.
    rng = np.random.default_rng(0)
    w, x = rng.uniform(-1, 1, (64, 512)), rng.normal(0, 0.4, (64, 512))
    quiet = Periphery(dac_steps=254)
    weights = crossbar_weights(torch.from_numpy(w).float(), quiet)
    weights = weights._replace(weight=weights.weight.bfloat16())
    ours = crossbar_codes(torch.from_numpy(x).float(), weights, quiet, LinearProduct())
    expected = reference.chain(w, x, dac_steps=254)
    assert np.abs(expected).max() > 12
    inside = np.abs(expected) < 12
    error = (ours.double().numpy() - expected)[inside]
    assert np.sqrt((error**2).mean()) < 0.04 / 3
    assert np.abs(error).max() < 0.04 * 1.5


@pytest.mark.parametrize("values", [
    {"dac_steps": 254, **IR_DROP}, {**IR_DROP, "ir_drop_scale": 2.0, "adc_steps": 254,
                                    "out_bound": 10.0}, {"v_offset": V, "r_series": 0.02},
])  # fmt: skip
def test_convolution_is_the_same_chain_over_patches(values):
    p = _periphery(**values)
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64).clamp(-1, 1)
    weight = torch.rand(OUTPUTS, 3, 3, 2, dtype=torch.float64) * 2 - 1
    weights = crossbar_weights(weight, p)
    native = crossbar_codes(x.clone(), weights, p, ConvProduct((1, 1), (0, 0), (1, 1), 1))
    patches = torch.nn.functional.unfold(x, (3, 2)).movedim(1, 2)
    expected = _run(p, patches.numpy(), weight.flatten(1).numpy())
    ours = (native * p.adc_step).flatten(2).movedim(1, 2).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-11)


def _managed(p: Periphery, x: np.ndarray = X) -> np.ndarray:
    weights = crossbar_weights(torch.from_numpy(W), p)
    codes, factor = managed_codes(torch.from_numpy(x.copy()), weights, p, LinearProduct())
    return (codes * p.adc_step * (1.0 if factor is None else factor)).numpy()


@pytest.mark.parametrize("kind", ["abs_max", "max", "constant", "abs_max_np_sum"])
def test_noise_management_divides_inputs_and_multiplies_outputs(kind):
    p = Periphery(
        noise_management=kind, nm_threshold=2.0, dac_steps=254, adc_steps=254, out_bound=10.0
    )
    factor = reference.noise_management_factor(3 * X, kind, 2.0, 10.0, 254)
    expected = factor * reference.chain(
        W, 3 * X / factor, dac_steps=254, adc_steps=254, out_bound=10.0
    )
    np.testing.assert_allclose(_managed(p, 3 * X), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("noise_management", ["none", "abs_max"])
@pytest.mark.parametrize("dac_steps", [None, 254, 30])
def test_iterative_bound_management_halves_inputs_until_outputs_fit(noise_management, dac_steps):
    chain = {"dac_steps": dac_steps, "adc_steps": 254, "out_bound": 0.5}
    p = Periphery(noise_management=noise_management, bound_management="iterative", **chain)
    limit = 1000 if dac_steps is None else min(1000, 0.25 / (2 / dac_steps))
    ours = _managed(p)
    for vector, result in zip(X, ours, strict=True):
        start = float(reference.noise_management_factor(vector, noise_management, 0, 1, None)[0])
        factor, y = 1.0, reference.chain(W, vector / start, **chain)
        while (np.abs(y) >= 0.5).any() and 2 * factor <= limit:
            factor *= 2
            y = reference.chain(W, vector / start / factor, **chain)
        np.testing.assert_allclose(result, factor * start * y, rtol=0, atol=1e-11)


def test_worst_case_bound_management_repeats_once_with_the_np_sum():
    chain = {"dac_steps": 254, "adc_steps": 254, "out_bound": 2.0}
    ours = _managed(Periphery(bound_management="worst_case", **chain))
    first = reference.chain(W, X, **chain)
    hit = (np.abs(first) >= 2.0).any(1, keepdims=True)
    factor = np.maximum(reference.np_sum_factor(X, 2.0), 1.0)
    expected = np.where(hit, factor * reference.chain(W, X / factor, **chain), first)
    assert hit.any()
    assert not hit.all()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-11)


def test_management_that_is_off_returns_no_factor():
    p = Periphery(dac_steps=254)
    weights = crossbar_weights(torch.from_numpy(W), p)
    assert managed_codes(torch.from_numpy(X.copy()), weights, p, LinearProduct())[1] is None


def test_weights_hold_only_what_the_periphery_needs():
    assert crossbar_weights(torch.ones(2, 3), Periphery())[2:] == (None,) * 5
    weights = crossbar_weights(torch.ones(2, 3), Periphery(read_noise_std=0.1))
    assert isinstance(weights, CrossbarWeights)
    assert weights.positioned is None

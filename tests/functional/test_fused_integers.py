"""Products with 8-bit integers are those of the readable chain, and serve linear tiles only."""

from itertools import product

import pytest
import torch
from torch import Tensor

from aimc_lightning import TileConfig, program_, set_time_
from aimc_lightning.functional import mvm
from aimc_lightning.functional.crossbar import (
    Periphery,
    crossbar_codes,
    crossbar_weights,
)
from aimc_lightning.functional.integer_steps import integer_step_codes
from aimc_lightning.functional.integer_weights import integer_product
from aimc_lightning.functional.ir_drop import position_weights
from aimc_lightning.functional.product import LinearProduct, StackedProduct
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.tiles.stack import _stack_weights
from tests.helpers.twins import STANDARD, Twins, agree, check_frozen, dequantized

pytest.importorskip("numba")
from aimc_lightning.functional import fused_integers
from aimc_lightning.functional.fused_weights import NoiseLaw, fused_weights
from aimc_lightning.functional.kernels import derived_weights

every_linear = pytest.mark.parametrize("name", ["linear", "one row", "single vector", "more axes"])


@pytest.fixture(autouse=True)
def _instructions(monkeypatch):
    """Take integers on every machine: without instructions for them they are only slow."""
    monkeypatch.setattr(fused_integers, "has_integer_instructions", lambda: True)


def _integers(weight: Tensor, p: Periphery = STANDARD):
    integers = derived_weights(weight, p).integers
    assert integers is not None
    return integers


def _weight(outputs: int = 33, inputs: int = 60) -> Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", list(product((1, 3, 33), repeat=3)), ids=str)
@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False)], ids=str)
def test_products_of_rows_and_columns_are_right_however_they_lie(shape, transposed):
    n, m, p = shape
    generator = torch.Generator().manual_seed(0)
    sizes = [
        size[::-1] if turned else size
        for size, turned in zip([(n, m), (m, p)], transposed, strict=True)
    ]
    drawn = [torch.randint(-127, 128, size, generator=generator).to(torch.int8) for size in sizes]
    a, b = (x.t() if turned else x for x, turned in zip(drawn, transposed, strict=True))
    exact, out = a.int() @ b.int(), torch.full((n, p), -1, dtype=torch.int32)
    assert torch.equal(integer_product(a, b), exact)
    assert torch.equal(integer_product(a, b, out=out), exact)
    assert torch.equal(out, exact)


def test_integers_are_off_by_half_a_step_at_most():
    weight = _weight()
    largest = weight.abs().amax(1, keepdim=True)
    found = _integers(weight)
    unit = found.unit[:, None]
    exact = (found.high + found.low / 256) * unit
    assert ((exact - weight).abs() <= largest * 2**-16 * 1.02).all()
    assert ((found.magnitude * unit - weight.abs()).abs() <= largest * 2**-8 * 1.02).all()
    place = weight * position_weights(60, dtype=torch.float32, device="cpu")
    assert ((found.positioned * unit - place).abs() <= largest * 2**-8 * 1.02).all()
    assert found.magnitude.max() == 127


def test_output_without_weights_stays_zero_and_one_with_a_nan_becomes_nan():
    weight = _weight(3, 20)
    weight[0] = 0.0
    weight[1, 4] = torch.nan
    p = STANDARD._replace(output_noise_std=0.01, read_noise_std=0.0)
    weights = derived_weights(weight, p)
    quiet, one = p._replace(output_noise_std=0.0), torch.ones(3)
    y = mvm.analog_mvm(
        torch.ones(5, 20), weight, one[0], one, mvm.PreparedTile(weights, one, quiet),
        LinearProduct(),
    )  # fmt: skip
    assert (y[:, 0] == 0).all()
    assert y[:, 1].isnan().all()
    assert y[:, 2].isfinite().all()


@every_linear
@pytest.mark.parametrize("effects", [
    {}, {"ir_drop_scale": 0.0}, {"dac_steps": 62, "adc_steps": 510}, {"out_bound": 0.5},
], ids=str)  # fmt: skip
def test_integers_agree_with_the_chain(name, effects):
    twins = Twins(name, STANDARD._replace(**effects), integers=True)
    agree(twins.run(True), twins.run(False), twins.s * twins.gamma * twins.c * twins.p.adc_step)


def test_error_of_integers_is_far_below_the_noise():
    p = STANDARD._replace(adc_steps=65534, out_bound=40.0, ir_drop_g_ratio=571_428.57)
    weight = _weight(64, 512)
    weight /= weight.abs().amax(1, keepdim=True)
    x, one = (
        torch.rand(200, 512, generator=torch.Generator().manual_seed(1)) * 2 - 1,
        torch.ones(64),
    )
    chain = crossbar_weights(weight, p)
    outputs = [
        mvm.analog_mvm(
            x, weight, one[0], one, mvm.PreparedTile(weights, one, p), LinearProduct(),
            generator=torch.Generator().manual_seed(2),
        )
        for weights in (chain, derived_weights(weight, p))
    ]  # fmt: skip
    assert not torch.equal(*outputs)
    assert (outputs[1] - outputs[0]).std() < 0.03 * p.output_noise_std  # 0.1 % of its variance


@every_linear
def test_read_noise_has_the_deviation_of_the_chain(name):
    # As for the other kernels: 200 passes, deviations averaged over at least 7 outputs; the squares
    # of small codes are rounded to steps of 127, which changes less than 1 %.
    p = STANDARD._replace(
        adc_steps=65534, out_bound=40.0, output_noise_std=0.01, read_noise_std=0.1
    )
    twins = Twins(name, p, quiet=False, integers=True)
    leaves = twins.leaves()
    with torch.no_grad():
        std = [
            torch.stack([twins.forward(fused, leaves, seed) for seed in range(200)]).std(0)
            for fused in (True, False)
        ]
    tolerance = 5 * (1 / 200 / std[0].numel()) ** 0.5
    assert float((std[0] / std[1]).mean()) == pytest.approx(1, abs=tolerance + 0.01)


@pytest.mark.parametrize("frozen", range(4))
def test_frozen_tensors_get_no_gradient(frozen):
    check_frozen(Twins("linear", STANDARD, integers=True), frozen, rtol=1e-5, atol=1e-6)


def test_not_a_number_spoils_its_row_alone():
    twins = Twins("linear", STANDARD, integers=True)
    x = twins.x.clone()
    x[20, 3] = torch.nan
    y = twins.forward(True, twins.leaves(x))
    assert y[20].isnan().all()
    assert not y[torch.arange(33) != 20].isnan().any()


def test_training_noise_is_the_same_with_integers():
    weight, scale = _weight(), torch.ones(33)
    law = NoiseLaw("additive", 0.06, 1.0)
    made = [
        fused_weights(
            weight, scale, STANDARD, law, integers=integers,
            generator=torch.Generator().manual_seed(4),
        )
        for integers in (False, True)
    ]  # fmt: skip
    assert torch.equal(made[0].weight, made[1].weight)
    assert made[1].positioned is None
    assert made[1].integers is not None
    for ours, expected in zip(made[1].integers, _integers(made[0].weight), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("change", [
    {"output_noise_std": 0.005}, {"dac_steps": 510}, {"dac_stochastic": True},
    {"read_noise_type": "constant"}, {"noise_management": "abs_max"}, {"ir_drop_scale": 1000.0},
])  # fmt: skip
def test_tiles_that_could_show_the_error_keep_floating_point(change):
    weight = _weight()
    assert derived_weights(weight, STANDARD).integers is not None
    p = STANDARD._replace(**change)
    assert derived_weights(weight, p).integers is None
    assert derived_weights(weight.double(), STANDARD).integers is None
    kernel = weight.view(33, 6, 10)
    assert derived_weights(kernel, STANDARD).integers is None


@pytest.mark.parametrize("noise", ["additive", "device"])
def test_layers_multiply_integers_in_training_and_on_a_chip(noise, monkeypatch):
    products = []
    multiply = fused_integers._product
    monkeypatch.setattr(
        fused_integers, "_product", lambda a, b: products.append(len(a)) or multiply(a, b)
    )
    values = {"weight_noise.type": noise, "input_range.init_batches": 0}
    config = TileConfig().with_values(values)
    layer = AnalogLinear.from_digital(torch.nn.Linear(20, 7), config)
    x = torch.randn(9, 20)
    layer(x).sum().backward()
    assert products == [9, 9, 9, 18]  # high, low, position-weighted, magnitudes and squares
    assert layer.weight.grad.abs().sum() > 0
    program_(layer.eval(), seed=0)
    set_time_(layer, 3600.0, seed=0)
    layer(x)
    assert products == [9, 9, 9, 18] * 2


def test_inputs_that_no_kernel_reads_take_the_chain_with_all_effects():
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.rand(4, 512, generator=generator), torch.rand(300, 512, generator=generator)
    wide = {"weight_noise.type": "none", "adc.bound": 500.0, "adc.bits": 16,
            "input_range.init_batches": 0}  # fmt: skip
    outputs = []
    for scale, inputs in ((2.0, x), (2.0, x.double()), (0.0, x)):
        config = TileConfig().with_values({**wide, "ir_drop.scale": scale})
        layer = AnalogLinear.from_digital(torch.nn.Linear(512, 4), config)
        with torch.no_grad():
            layer.weight.copy_(weight)
            outputs.append(layer(inputs).double().mean(0))
    assert (outputs[1] - outputs[0]).abs().max() < 0.05 * (outputs[1] - outputs[2]).abs().min()


@pytest.mark.parametrize("effects", [{}, {"ir_drop_scale": 0.0}], ids=str)
@pytest.mark.parametrize("noisy", [False, True])
def test_steps_of_a_recurrent_layer_agree_with_the_chain(effects, noisy):
    p = STANDARD._replace(adc_steps=65534, out_bound=40.0, **effects)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.rand(9, 20, generator=generator) - 0.5 for _ in range(2)]
    stacked = [dequantized(_integers(weight, p), 20) for weight in weights]
    integers = _stack_weights(stacked).integers
    chain = _stack_weights([w._replace(integers=None) for w in stacked])
    if not noisy:
        p = p._replace(output_noise_std=0.0, read_noise_std=0.0)
        chain = chain._replace(squares=None)
    x = torch.rand(2, 5, 20, generator=generator) * 2 - 1
    x[1, 3, 0] = torch.nan
    ours = integer_step_codes(
        x.clone(), chain._replace(integers=integers), p, generator=generator.manual_seed(1)
    )
    expected = crossbar_codes(
        x.clone(), chain, p, StackedProduct(), generator=generator.manual_seed(1)
    )
    # One step of the converter is 0.0012; small codes squared are rounded to steps of 127.
    torch.testing.assert_close(ours, expected, rtol=0, atol=6.0 if noisy else 1.01, equal_nan=True)
    assert ours[1, 3].isnan().all()
    assert ours.isnan().sum() == 9


def test_weights_stay_in_single_precision_under_another_default():
    torch.set_default_dtype(torch.bfloat16)  # as Lightning does for bf16-true
    try:
        made = fused_weights(
            _weight().float(), torch.ones(33).float(), STANDARD, NoiseLaw(), integers=True
        )
    finally:
        torch.set_default_dtype(torch.float32)
    assert made.integers is not None
    assert made.weight.dtype == made.integers.unit.dtype == torch.float32

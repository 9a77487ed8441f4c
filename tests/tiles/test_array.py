"""Several tiles of one matrix with digital partial sums."""

import numpy as np
import pytest
import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.product import ConvProduct, LinearProduct
from aimc_lightning.presets import get_preset
from aimc_lightning.tiles.array import TileArray, config_is_ideal
from tests.helpers import reference_mvm as reference

CONVERTERS = get_preset("standard_pcm").with_values({
    "noise.output_std": 0.0, "noise.read_std": 0.0, "input_range.mode": "fixed",
    "input_range.initial": 2.0, "weight_noise.type": "none", "mapping.max_inputs": 30,
    "mapping.max_outputs": 4,
})  # fmt: skip


@pytest.mark.parametrize("scaling", ["column", "tile"])
@pytest.mark.parametrize("omega", [1.0, 0.6])
def test_sum_over_tiles_agrees_with_the_reference(scaling, omega):
    config = CONVERTERS.with_values({"mapping.weight_scaling": scaling, "mapping.omega": omega})
    rng = np.random.default_rng(0)
    w, x = rng.normal(0, 0.2, (10, 70)), rng.normal(0, 1, (20, 70))
    array = TileArray.for_linear(10, 70, config).double()
    ours = array(torch.from_numpy(x), torch.from_numpy(w), LinearProduct())
    expected = np.zeros((20, 10))
    for rows in np.split(np.arange(70), np.cumsum([24, 23])):
        for columns in np.split(np.arange(10), np.cumsum([4, 3])):
            part = w[np.ix_(columns, rows)]
            largest = np.abs(part).max(1, keepdims=True)
            s = (largest if scaling == "column" else np.full_like(largest, largest.max())) / omega
            a = reference.chain(part / s, x[:, rows] / 2.0, dac_steps=254, ir_drop_scale=1.0,
                                adc_steps=254, out_bound=10.0)  # fmt: skip
            expected[:, columns] += s[:, 0] * 2.0 * a
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=0, atol=1e-7)


def test_crossbars_list_rows_and_columns_used():
    array = TileArray.for_linear(700, 1300, TileConfig())
    assert array.crossbars == [(row, 350) for row in (434, 433, 433) for _ in range(2)]
    assert len(array.tiles) == 3


def test_each_tile_has_its_own_range_and_scales():
    array = TileArray.for_linear(700, 1300, TileConfig())
    assert {name for name, _ in array.named_parameters()} == {
        f"tiles.{k}.{name}" for k in range(3) for name in ("input_range", "out_scale")
    }
    assert array.tiles[0].out_scale.shape == (700,)


def test_weight_parts_are_views():
    array, weight = TileArray.for_linear(3, 70, CONVERTERS), torch.zeros(3, 70)
    for number, part in enumerate(array.weight_parts(weight)):
        part.fill_(number)
    assert [int((weight == number).sum()) for number in range(3)] == [72, 69, 69]


def test_channels_of_each_group_reach_the_tile_that_holds_their_weights():
    # One output per group and kernels that pick a single channel: outputs name the channel.
    array = TileArray(2, [2, 1], get_preset("ideal"), groups=2, kernel_size=1)
    weight = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]).view(2, 3, 1)
    x = torch.arange(1.0, 7.0).view(1, 6, 1)
    y = array(x, weight, ConvProduct((1,), (0,), (1,), 2))
    assert y.flatten().tolist() == [3.0, 5.0]


def test_integer_inputs_are_refused_by_name():
    array = TileArray.for_linear(3, 4, TileConfig())
    with pytest.raises(TypeError, match=r"floating-point inputs, got torch\.int64; convert them"):
        array(torch.ones(2, 4, dtype=torch.int64), torch.ones(3, 4), LinearProduct())


def test_effective_weight_folds_the_output_scale():
    array, weight = TileArray.for_linear(3, 70, CONVERTERS), torch.ones(3, 70)
    with torch.no_grad():
        array.tiles[1].out_scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
    folded = array.effective_weight(weight)
    assert folded[:, 30].tolist() == [1.0, 2.0, 3.0]
    assert folded[:, 60].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("field", "value"), [
    ("dac.bits", 8), ("dac.asymmetry", 0.1), ("adc.bound", 10.0), ("adc.asymmetry", 0.1),
    ("input_range.mode", "fixed"), ("input_range.mode", "dynamic"),
    ("input_range.noise_management", "max"), ("noise.output_std", 0.1), ("noise.read_std", 0.1),
    ("noise.input_std", 0.1), ("ir_drop.scale", 1.0), ("distortion.r_series", 0.1),
    ("distortion.v_offset_std", 0.1), ("distortion.polarity_std", 0.1),
    ("weight_noise.type", "additive"), ("weight_noise.drop_connect", 0.1),
    ("mapping.learn_out_scale", "tile"),
])  # fmt: skip
def test_any_single_effect_ends_the_bypass(field, value):
    ideal = get_preset("ideal")
    assert config_is_ideal(ideal)
    assert not config_is_ideal(ideal.with_values({field: value}))


def test_chip_ends_the_bypass_in_evaluation():
    array = TileArray.for_linear(3, 4, get_preset("ideal"))
    assert array.bypass
    array.program_(torch.randn(3, 4), torch.Generator().manual_seed(0))
    assert array.programmed
    assert not array.bypass

import pytest

from aimc_lightning.evaluation.mapping.layer import LayerMapping


def test_inputs_are_converted_once_for_crossbars_beside_each_other():
    layer = LayerMapping("fc", "Linear", (100,), (50, 50), (128, 64), vectors=3.0)
    assert (layer.mvms, layer.dac_conversions, layer.adc_conversions) == (6.0, 300.0, 300.0)


def test_outputs_are_converted_in_each_row_of_tiles():
    layer = LayerMapping("fc", "Linear", (100, 100), (50,), (128, 64), vectors=1.0)
    assert (layer.dac_conversions, layer.adc_conversions) == (200.0, 100.0)


def test_a_group_converts_its_own_columns_only():
    layer = LayerMapping("c", "Conv2d", (9,), (8,), (512, 512), groups=4, vectors=4.0)
    assert layer.adc_conversions == 8.0


def test_two_passes_double_products_and_conversions():
    layer = LayerMapping("fc", "Linear", (4,), (2,), (8, 8), vectors=1.0, passes=2)
    assert (layer.mvms, layer.dac_conversions, layer.adc_conversions) == (2.0, 8.0, 4.0)


def test_missing_converters_convert_nothing():
    layer = LayerMapping(
        "fc", "Linear", (4,), (2,), vectors=1.0, converts_inputs=False, converts_outputs=False
    )
    assert (layer.dac_conversions, layer.adc_conversions) == (0.0, 0.0)


def test_utilisation_is_the_share_of_cells_and_full_without_a_limit():
    assert LayerMapping("fc", "L", (64,), (32,), (128, 64)).utilisation == pytest.approx(0.25)
    assert LayerMapping("fc", "L", (64,), (32,), (128, 0)).utilisation == pytest.approx(0.5)
    assert LayerMapping("bn", "BatchNorm2d").utilisation is None


def test_counts_are_unknown_without_a_pass():
    layer = LayerMapping("fc", "Linear", (4,), (2,))
    assert layer.mvms is layer.dac_conversions is layer.adc_conversions is None

"""Convolutions on tiles."""

import pytest
import torch
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.nn.base import analog_arrays
from aimc_lightning.nn.conv import AnalogConv1d, AnalogConv2d, AnalogConv3d
from aimc_lightning.presets import get_preset
from tests.helpers.conformance import TILED, Case, LayerConformance, flat, gradients

CASES = {
    "1d": Case(lambda: nn.Conv1d(4, 5, 3, padding=1), (2, 4, 9)),
    "2d": Case(lambda: nn.Conv2d(4, 5, 3, padding=1), (2, 4, 6, 5)),
    "3d": Case(lambda: nn.Conv3d(2, 4, 2, stride=2), (2, 2, 4, 5, 4)),
    "1x1": Case(lambda: nn.Conv2d(20, 5, 1, bias=False), (2, 20, 3, 3)),
    "stride and dilation": Case(
        lambda: nn.Conv2d(4, 5, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(2, 1)),
        (2, 4, 7, 8),
    ),
    "groups": Case(lambda: nn.Conv2d(8, 6, 3, groups=2), (2, 8, 5, 5)),
    "depthwise": Case(lambda: nn.Conv2d(6, 6, 3, groups=6, padding=1), (2, 6, 5, 5)),
    "same, even kernel": Case(lambda: nn.Conv2d(2, 5, (4, 2), padding="same"), (2, 2, 6, 5)),
    "same, 1d, dilated": Case(
        lambda: nn.Conv1d(2, 5, 4, padding="same", dilation=3), (2, 2, 12)
    ),
    "valid": Case(lambda: nn.Conv2d(2, 5, 3, padding="valid"), (2, 2, 6, 5)),
    "reflect": Case(
        lambda: nn.Conv2d(2, 5, 3, padding=(1, 2), padding_mode="reflect"), (2, 2, 6, 5)
    ),
    "replicate, 3d": Case(
        lambda: nn.Conv3d(2, 3, 2, padding=(0, 1, 1), padding_mode="replicate"), (1, 2, 3, 4, 3)
    ),
    "circular, same, even": Case(
        lambda: nn.Conv2d(2, 5, (2, 4), padding="same", padding_mode="circular"), (2, 2, 6, 5)
    ),
    "unbatched": Case(lambda: nn.Conv2d(4, 5, 3, padding=1), (4, 6, 5), batch_axis=None),
    "unbatched, 1d": Case(lambda: nn.Conv1d(4, 5, 2, padding="same"), (4, 9), batch_axis=None),
}  # fmt: skip
UNFOLD = TILED.with_values({"mapping.conv_split": "unfold"})
WITHOUT_GROUPS = {name: case for name, case in CASES.items() if case.digital()[0].groups == 1}
every_plain_case = pytest.mark.parametrize(
    "case", WITHOUT_GROUPS.values(), ids=list(WITHOUT_GROUPS)
)


@pytest.mark.filterwarnings("ignore:.*even kernel lengths:UserWarning")  # torch, not us
class TestAnalogConv(LayerConformance):
    @pytest.fixture(params=CASES.values(), ids=list(CASES))
    def case(self, request):
        return request.param


@every_plain_case
def test_unfolded_convolution_equals_the_digital_one(case):
    x = case.inputs(torch.float64)
    ours = gradients(case.analog(UNFOLD, torch.float64), x)
    for name, value in gradients(case.digital(torch.float64), x).items():
        torch.testing.assert_close(ours[name], value, rtol=1e-10, atol=1e-11, msg=name)


@every_plain_case
def test_unfolded_and_native_convolution_agree_on_one_tile(case):
    # Deterministic effects only; a per-vector factor of 1 forces patches to be unfolded.
    native = get_preset("standard_pcm").with_values({
        "noise.output_std": 0.0, "noise.read_std": 0.0, "weight_noise.type": "none",
        "input_range.mode": "fixed", "input_range.initial": 2.0, "mapping.learn_out_scale": None,
        "ir_drop.scale": 10.0,
    })  # fmt: skip
    unfolded = native.with_values(
        {"input_range.noise_management": "constant", "input_range.nm_threshold": 1.0}
    )
    x = case.inputs(torch.float64)
    one, other = case.analog(native, torch.float64), case.analog(unfolded, torch.float64)
    assert not one[0].unfolds_patches
    assert other[0].unfolds_patches
    ours, expected = gradients(other, x), gradients(one, x)
    assert set(ours) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-9, atol=1e-10, msg=name)


def test_convolution_that_fits_one_tile_runs_natively_with_either_split():
    for split in ("unfold", "channel"):
        config = TileConfig().with_values({"mapping.conv_split": split})
        assert not AnalogConv2d.from_digital(nn.Conv2d(3, 4, 3), config).unfolds_patches


@pytest.mark.parametrize(("split", "rows"), [
    ("channel", [288, 288]), ("unfold", [288, 288]),
])  # fmt: skip
def test_rows_of_the_tiles_are_near_equal(split, rows):
    config = TileConfig().with_values({"mapping.conv_split": split})
    layer = AnalogConv2d.from_digital(nn.Conv2d(64, 600, 3), config)
    ((array, _),) = analog_arrays(layer).values()
    assert array.crossbars == [(row, 300) for row in rows for _ in range(2)]


def test_channel_split_cuts_between_channels_and_unfold_anywhere():
    sizes = {}
    for split in ("channel", "unfold"):
        config = TileConfig().with_values({"mapping.conv_split": split, "mapping.max_inputs": 100})
        layer = AnalogConv2d.from_digital(nn.Conv2d(23, 4, 3), config)
        sizes[split] = [rows for rows, _ in layer.analog.crossbars]
    assert sizes == {"channel": [72, 72, 63], "unfold": [69, 69, 69]}


def test_kernel_larger_than_a_tile_is_refused_in_channel_cuts():
    config = TileConfig().with_values({"mapping.max_inputs": 8})
    with pytest.raises(ValueError, match="kernel of 9 elements does not fit into a tile of 8"):
        AnalogConv2d.from_digital(nn.Conv2d(3, 4, 3), config)


def test_kernel_larger_than_a_tile_works_unfolded():
    config = TILED.with_values({"mapping.max_inputs": 8, "mapping.conv_split": "unfold"})
    digital = nn.Conv2d(3, 4, 3).double()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    analog = AnalogConv2d.from_digital(digital, config)
    torch.testing.assert_close(analog(x), digital(x))


def test_groups_cannot_be_unfolded_and_the_error_says_what_to_do():
    config = TileConfig().with_values({"input_range.mode": "dynamic"})
    with pytest.raises(ValueError, match="2 groups runs natively only; use"):
        AnalogConv2d.from_digital(nn.Conv2d(4, 4, 3, groups=2), config)


def test_dynamic_range_is_the_largest_input_of_each_patch():
    # Scaling one image scales its output exactly when every patch has a range of its own.
    config = get_preset("ideal").with_values({"input_range.mode": "dynamic", "dac.bits": 8})
    layer = AnalogConv2d.from_digital(nn.Conv2d(2, 3, 3, bias=False), config)
    x = torch.randn(1, 2, 5, 5)
    torch.testing.assert_close(layer(64 * x), 64 * layer(x))


@pytest.mark.parametrize(("digital", "cls"), [
    (nn.Conv1d(1, 1, 1), AnalogConv1d), (nn.Conv2d(1, 1, 1), AnalogConv2d),
    (nn.Conv3d(1, 1, 1), AnalogConv3d),
])  # fmt: skip
def test_layer_keeps_its_torch_class(digital, cls):
    analog = cls.from_digital(digital, TileConfig())
    assert isinstance(analog, type(digital))
    assert analog.weight is digital.weight


def test_channels_last_inputs_give_the_same_numbers():
    case = CASES["2d"]
    config = TileConfig().with_values({
        "noise.output_std": 0.0, "noise.read_std": 0.0, "weight_noise.type": "none",
    })  # fmt: skip
    x = case.inputs()
    expected = gradients(case.analog(config), x)
    ours = gradients(
        case.analog(config).to(memory_format=torch.channels_last),
        x.contiguous(memory_format=torch.channels_last),
    )
    for name in ("x", "0.weight"):
        torch.testing.assert_close(flat(ours[name]), flat(expected[name]), rtol=1e-3, atol=1e-3)

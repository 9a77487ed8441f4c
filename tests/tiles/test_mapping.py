"""Cutting a matrix into tiles, and scaling it to normalised weights."""

import pytest
import torch

from aimc_lightning.tile_config import MappingConfig
from aimc_lightning.tiles.mapping import mapping_scale, split_channels, split_sizes
from tests.helpers import reference_mvm as reference


@pytest.mark.parametrize("limit", [0, 1, 7, 512])
@pytest.mark.parametrize("size", [1, 2, 7, 512, 513, 700, 1300, 1536])
def test_sizes_agree_with_the_reference(size, limit):
    assert split_sizes(size, limit) == reference.split_sizes(size, limit)


@pytest.mark.parametrize(("size", "sizes"), [(700, [350, 350]), (1300, [434, 433, 433])])
def test_examples_of_the_specification(size, sizes):
    assert split_sizes(size, 512) == sizes


@pytest.mark.parametrize("size", range(1, 60))
def test_parts_are_nearly_equal_and_fit(size):
    parts = split_sizes(size, 9)
    assert sum(parts) == size
    assert max(parts) <= 9
    assert max(parts) - min(parts) <= 1
    assert parts == sorted(parts, reverse=True)


@pytest.mark.parametrize(("channels", "kernel", "limit", "expected"), [
    (64, 9, 512, [32, 32]), (3, 49, 512, [3]), (128, 1, 0, [128]), (57, 9, 512, [29, 28]),
    (5, 512, 512, [1] * 5),
])  # fmt: skip
def test_channels_are_cut_so_that_each_part_fits(channels, kernel, limit, expected):
    assert split_channels(channels, kernel, limit) == expected


def test_kernel_beyond_the_tile_names_both_sizes_and_the_remedy():
    with pytest.raises(
        ValueError, match=r"513 elements .* 512 inputs; raise .*conv_split='unfold'"
    ):
        split_channels(1, 513, 512)


WEIGHT = torch.tensor([[1.0, -4.0], [0.5, 0.25], [0.0, 0.0], [-2.0, 1.0]])


def test_column_scaling_gives_each_output_its_largest_weight():
    assert mapping_scale(WEIGHT, MappingConfig(), [4]).tolist() == [4.0, 0.5, 1.0, 2.0]


def test_tile_scaling_gives_each_crossbar_one_scale():
    mapping = MappingConfig(weight_scaling="tile")
    assert mapping_scale(WEIGHT, mapping, [1, 3]).tolist() == [4.0, 2.0, 2.0, 2.0]
    assert mapping_scale(torch.zeros(2, 3), mapping, [1, 1]).tolist() == [1.0, 1.0]


def test_omega_is_the_normalised_weight_of_the_largest():
    scale = mapping_scale(WEIGHT, MappingConfig(omega=0.5), [4])
    assert float((WEIGHT / scale[:, None]).abs().max()) == 0.5


def test_convolution_kernels_count_as_columns():
    weight = torch.randn(3, 2, 3, 3)
    expected = weight.abs().amax((1, 2, 3))
    assert torch.equal(mapping_scale(weight, MappingConfig(), [3]), expected)


def test_scale_is_a_constant_of_the_gradient():
    assert not mapping_scale(WEIGHT.clone().requires_grad_(), MappingConfig(), [4]).requires_grad

"""Equal tiles stacked for one batched product."""

import pytest
import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.tiles.array import TileArray
from aimc_lightning.tiles.stack import tile_groups

WEIGHT = torch.randn(6, 11, generator=torch.Generator().manual_seed(0))


def _groups(limit: int, **values: object) -> list:
    names = {"mapping.max_inputs": limit, "weight_noise.type": "none", **values}
    array = TileArray.for_linear(6, 11, TileConfig().with_values(names))
    return tile_groups(array, WEIGHT)


@pytest.mark.parametrize(("limit", "shapes"), [
    (0, [(1, 6, 11)]), (11, [(1, 6, 11)]), (6, [(1, 6, 6), (1, 6, 5)]),
    (3, [(3, 6, 3), (1, 6, 2)]), (1, [(11, 6, 1)]),
])  # fmt: skip
def test_tiles_of_equal_size_make_up_a_group(limit, shapes):
    assert [tuple(group.weights.weight.shape) for group in _groups(limit)] == shapes


def test_groups_hold_all_weights_in_order():
    parts = [group.weights.weight * group.mapping_scale.unsqueeze(-1) for group in _groups(3)]
    whole = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1)
    torch.testing.assert_close(whole, WEIGHT)


def test_inputs_of_a_group_are_those_of_its_tiles():
    x = torch.arange(22.0).view(2, 11)
    first, second = _groups(3)
    assert torch.equal(first.grouped(x)[1], x[:, 3:6])
    assert torch.equal(second.grouped(x)[0], x[:, 9:])


def test_weights_shared_by_two_effects_are_stacked_once():
    group = _groups(3)[0]
    assert group.weights.squares is group.weights.magnitude


def test_group_without_weights_keeps_no_large_tensor():
    bare = _groups(3)[0].with_weights(None)
    assert bare.weights.weight.numel() == 0
    assert bare.weights.magnitude is None

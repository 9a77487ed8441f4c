"""Linear layers on tiles."""

import pytest
import torch
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.nn.linear import AnalogLinear
from tests.helpers.conformance import TILED, Case, LayerConformance

CASES = {
    "narrow": Case(lambda: nn.Linear(5, 4), (6, 5)),
    "wider than a tile": Case(lambda: nn.Linear(40, 7), (6, 40)),
    "without bias": Case(lambda: nn.Linear(19, 3, bias=False), (6, 19)),
    "one input": Case(lambda: nn.Linear(1, 2), (6, 1)),
    "one output": Case(lambda: nn.Linear(20, 1), (6, 20)),
    "more axes": Case(lambda: nn.Linear(5, 4), (3, 2, 5)),
    "single vector": Case(lambda: nn.Linear(20, 4), (20,), batch_axis=None),
}


class TestAnalogLinear(LayerConformance):
    @pytest.fixture(params=CASES.values(), ids=list(CASES))
    def case(self, request):
        return request.param


def test_layer_is_a_linear_layer_and_shares_the_parameters():
    digital = nn.Linear(4, 3)
    analog = AnalogLinear.from_digital(digital, TileConfig())
    assert isinstance(analog, nn.Linear)
    assert analog.weight is digital.weight
    assert analog.bias is digital.bias
    assert not hasattr(digital, "analog")


def test_hooks_of_the_digital_layer_keep_working():
    digital, seen = nn.Linear(4, 3), []
    digital.register_forward_hook(lambda *_: seen.append(1))
    AnalogLinear.from_digital(digital, TileConfig())(torch.zeros(2, 4))
    assert seen == [1]


@pytest.mark.parametrize("train", [True, False])
def test_mode_of_the_digital_layer_is_taken_over(train):
    analog = AnalogLinear.from_digital(nn.Linear(4, 3).train(train), TileConfig())
    assert analog.analog.tiles[0].training is train


def test_frozen_weight_stays_frozen():
    digital = nn.Linear(4, 3)
    digital.weight.requires_grad_(False)
    analog = AnalogLinear.from_digital(digital, TileConfig())
    analog(torch.randn(2, 4)).sum().backward()
    assert analog.weight.grad is None
    assert analog.bias.grad is not None


def test_wrong_width_is_an_error_as_in_the_digital_layer():
    for config in (TileConfig(), TILED):
        analog = AnalogLinear.from_digital(nn.Linear(40, 3), config)
        with pytest.raises(RuntimeError):
            analog(torch.randn(2, 41))


def test_printed_layer_shows_its_tiles():
    text = repr(AnalogLinear.from_digital(nn.Linear(700, 3), TileConfig()))
    assert "in_sizes=[350, 350]" in text

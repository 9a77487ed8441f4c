"""The Conv1D of Hugging Face transformers on tiles."""

import pytest
import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.nn.base import clip_weights_
from aimc_lightning.nn.conv1d_hf import AnalogConv1DHF
from tests.helpers.conformance import Case, LayerConformance

Conv1D = pytest.importorskip("transformers.pytorch_utils").Conv1D

CASES = {
    "narrow": Case(lambda: Conv1D(4, 5), (6, 5)),
    "wider than a tile": Case(lambda: Conv1D(7, 40), (6, 40)),
    "more axes": Case(lambda: Conv1D(4, 5), (3, 2, 5)),
}


class TestAnalogConv1DHF(LayerConformance):
    @pytest.fixture(params=CASES.values(), ids=list(CASES))
    def case(self, request):
        return request.param


def test_tiles_are_cut_along_the_inputs_though_the_weight_is_transposed():
    layer = AnalogConv1DHF.from_digital(Conv1D(3, 700), TileConfig())
    assert layer.weight.shape == (700, 3)
    assert layer.analog.in_sizes == [350, 350]


def test_clipping_reaches_the_transposed_weight():
    model = torch.nn.Sequential(Conv1D(8, 16))
    weight = model[0].weight.detach().clone()
    largest = weight.abs().amax(0)
    bound = (weight / largest).std() * largest
    clipping = TileConfig().with_values({"clip.type": "gaussian", "clip.sigma": 1.0})
    convert_to_analog(model, clipping)
    clip_weights_(model)
    torch.testing.assert_close(model[0].weight.detach(), weight.clamp(-bound, bound))


def test_class_of_the_same_name_from_elsewhere_is_not_taken_for_it():
    other = type("Conv1D", (torch.nn.Module,), {"__module__": "elsewhere"})()
    other.weight = torch.nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ValueError, match="not a layer that runs on tiles"):
        convert_to_analog(torch.nn.Sequential(other))

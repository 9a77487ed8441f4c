"""Layers whose weight is read by their parent."""

import pytest
import torch.nn.functional as F
from torch import nn

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.nn.read_weights import only_read


class _Reads(nn.Module):
    """One layer for each way to use it."""

    def __init__(self) -> None:
        super().__init__()
        self.called = nn.Linear(2, 2)
        self.read = nn.Linear(2, 2)
        self.both = nn.Linear(2, 2)
        self.passed = nn.Linear(2, 2)
        self.described = nn.Linear(2, 2)
        self.other = nn.Linear(2, 2)
        nn.init.zeros_(self.other.weight)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.other.weight)

    def forward(self, x):
        x = F.linear(self.called(x.to(self.described.weight.dtype)), self.read.weight)
        x = self.both(x) + self.both.weight.sum() + self.read.bias
        return self.run(self.passed, x) + self.passed.weight.sum()

    def run(self, layer, x):
        return layer(x)


class _Inherits(_Reads):
    pass


@pytest.mark.parametrize("cls", [_Reads, _Inherits])
def test_layer_that_is_read_and_neither_called_nor_passed_on_is_found(cls):
    assert only_read(cls()) == {"read"}


def test_such_a_layer_stays_digital_with_the_reason():
    model = nn.Sequential(_Reads())
    report = convert_to_analog(model)
    assert "0.read" not in analog_layers(model)
    reasons = {row.name: row.reason for row in report.kept}
    assert reasons == {"0.read": "_Reads reads its weight and never calls it"}


@pytest.mark.parametrize("module", [
    nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)), nn.LSTM(2, 2),
    nn.TransformerEncoderLayer(4, 2), nn.TransformerDecoderLayer(4, 2),
])  # fmt: skip
def test_modules_of_torch_that_call_their_layers_are_not_suspected(module):
    assert not only_read(module)


def test_class_without_source_is_not_suspected():
    namespace: dict = {}
    exec("from torch import nn\nclass Hidden(nn.Module): pass", namespace)
    assert only_read(namespace["Hidden"]()) == frozenset()

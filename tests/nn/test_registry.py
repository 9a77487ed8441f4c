"""Which layers have an analog class, and why others have none."""

import pytest
import torch
from torch import nn

from aimc_lightning.nn.registry import (
    ANALOG_CLASSES,
    analog_class,
    convertible_names,
    reason_to_stay,
)


class _Own(nn.LSTM):
    def forward(self, input, hx=None):
        return super().forward(input, hx)


class _Plain(nn.GRU):
    pass


@pytest.mark.parametrize("digital", ANALOG_CLASSES, ids=lambda cls: cls.__name__)
def test_analog_class_subclasses_the_digital_one(digital):
    assert issubclass(ANALOG_CLASSES[digital], digital)


def test_subclass_counts_as_its_base_unless_it_changes_forward():
    assert analog_class(_Plain(2, 2)) is ANALOG_CLASSES[nn.GRU]
    assert analog_class(_Own(2, 2)) is None
    assert reason_to_stay(_Own(2, 2)) == "_Own changes forward() of LSTM"


@pytest.mark.parametrize(("layer", "reason"), [
    (lambda: nn.Embedding(2, 2), "look-up"),
    (lambda: nn.EmbeddingBag(2, 2), "look-up"),
    (lambda: nn.LayerNorm(2), "normalisation"),
    (lambda: nn.BatchNorm1d(2), "normalisation"),
    (lambda: nn.ConvTranspose1d(2, 2, 2), "transposed"),
    (lambda: nn.Bilinear(2, 2, 2), "two activations"),
    (lambda: nn.PReLU(), "not a layer that runs on tiles"),
    (lambda: nn.Linear(2, 2, dtype=torch.complex64), "complex64"),
    (lambda: nn.utils.weight_norm(nn.LSTM(2, 2), "weight_hh_l0"), "reparametrised"),
    (lambda: nn.utils.parametrizations.orthogonal(nn.RNNCell(2, 2), "weight_hh"), "reparametr"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_layer_without_an_analog_class_says_why(layer, reason):
    assert reason in reason_to_stay(layer())


@pytest.mark.filterwarnings("ignore:Initializing zero-element:UserWarning")
def test_layer_without_weights_is_kept():
    assert reason_to_stay(nn.Linear(0, 3)) == "its weight has no elements"


def test_names_for_messages_include_those_of_other_packages():
    assert convertible_names().endswith("MultiheadAttention, transformers.Conv1D")

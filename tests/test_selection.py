"""Which layers selectors mean."""

import json

import pytest
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.selection import matches, select, weighted_layers


def _model() -> nn.Sequential:
    return nn.Sequential(
        nn.Embedding(9, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.LSTM(4, 4), nn.Linear(4, 2)
    )


@pytest.mark.parametrize(("selector", "found"), [
    ("1", True), ("2", False), ("[0-3]", True), ("re:^1$", True), ("re:2", False),
    ("Linear", True), ("Conv2d", False), (nn.Linear, True), (nn.Module, True), (nn.LSTM, False),
])  # fmt: skip
def test_selector_means_a_layer_by_name_glob_expression_or_type(selector, found):
    assert matches("1", _model()[1], [selector]) is found


@pytest.mark.parametrize("selector", ["Linear", nn.Linear])
def test_type_of_an_analog_layer_is_that_of_the_digital_one(selector):
    model = _model()
    convert_to_analog(model)
    assert matches("1", model[1], [selector])


def test_first_and_last_are_the_first_and_last_convertible_layer():
    selection = select(_model(), TileConfig(), None, ["first"], {"last": None})
    assert selection.exclude == ["1"]
    assert selection.layers == {"4": None}


def test_positions_mean_the_same_after_conversion():
    model = _model()
    options = {"exclude": ["first"], "layers": {"last": "ideal"}}
    convert_to_analog(model, **options)
    assert list(analog_layers(model)) == ["3", "4"]
    assert convert_to_analog(model, **options).already


def test_layer_called_last_is_meant_by_its_name():
    model = nn.ModuleDict({"last": nn.Linear(2, 2), "more": nn.Linear(2, 2)})
    assert select(model, TileConfig(), None, ["last"], {}).exclude == ["last"]


def test_position_of_a_layer_whose_name_looks_like_a_glob_means_it_alone():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "[ab]": nn.Linear(2, 2)})
    convert_to_analog(model, exclude=["last"])
    assert list(analog_layers(model)) == ["a"]


def test_shared_layer_is_meant_by_each_of_its_names():
    shared = nn.Linear(2, 2)
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Linear(2, 2)})
    report = convert_to_analog(model, exclude=["b"])
    assert [row.name for row in report.kept] == ["a"]


def test_misspelt_name_gets_a_hint():
    with pytest.raises(ValueError, match="Did you mean 'encoder'"):
        select(nn.ModuleDict({"encoder": nn.Linear(2, 2)}), TileConfig(), ["encodr"], [], {})


def test_modules_with_parameters_of_their_own_are_listed_once():
    shared = nn.Linear(2, 2)
    assert list(weighted_layers(nn.Sequential(shared, nn.ReLU(), shared))) == ["0"]


def test_selection_of_every_kind_is_expressible_as_plain_data():
    options = json.loads(
        '{"include": ["Linear", "re:^3$"], "exclude": ["first"], "layers": {"last": "ideal"}}'
    )
    model = _model()
    convert_to_analog(model, "standard_pcm", **options)
    assert list(analog_layers(model)) == ["3", "4"]
    assert model[4].analog.bypass

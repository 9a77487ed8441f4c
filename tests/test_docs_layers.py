"""The tables of docs/layers.md say what is measured."""

import pytest
from torch import nn

from aimc_lightning.nn.registry import ANALOG_CLASSES, ANALOG_CLASSES_BY_NAME
from tests.helpers.layer_tables import LAYERS, PAGE, layer_row, section
from tests.helpers.networks import NAMES

#: torch, not us.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


@pytest.mark.parametrize("code", LAYERS)
def test_row_of_a_layer_is_what_it_does(code):
    if code.startswith("Conv1D"):
        pytest.importorskip("transformers")
    row = layer_row(code)
    assert "NO" not in row
    assert row in section(PAGE.read_text(), "layers").splitlines()


def test_table_holds_every_layer_that_converts_and_no_other_row():
    names = {code.removeprefix("nn.").split("(")[0] for code in LAYERS}
    assert {cls.__name__ for cls in ANALOG_CLASSES} <= names
    assert {name for _, name in ANALOG_CLASSES_BY_NAME} <= names
    assert all(hasattr(nn, name) or name == "Conv1D" for name in names)
    rows = section(PAGE.read_text(), "layers").splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(LAYERS)


def test_table_holds_every_network():
    rows = section(PAGE.read_text(), "networks").splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(NAMES)

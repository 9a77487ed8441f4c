"""The worked changes of docs/contributing work, and their tests pass."""

import sys
from types import ModuleType

import pytest

from aimc_lightning.devices import base
from aimc_lightning.nn.registry import ANALOG_CLASSES
from aimc_lightning.zoo import registry
from docs.tools import run_pages


def _names(page):
    """Run the blocks of a page and return the names that they define."""
    names = {"__name__": page.removesuffix(".md")}
    for source, _ in run_pages.blocks((run_pages.DOCS / "contributing" / page).read_text()):
        exec(compile(source, page, "exec"), names)
    return names


def _run_tests(names):
    tests = [value for name, value in names.items() if name.startswith("test_")]
    for test in tests:
        test()
    return len(tests)


def test_device_is_added(monkeypatch):
    monkeypatch.setattr(base._REGISTRY, "_classes", dict(base._REGISTRY._classes))
    assert _run_tests(_names("add_device.md")) == 4


def test_zoo_entry_is_added(monkeypatch):
    registry.list_models()
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    assert _run_tests(_names("add_zoo_entry.md")) == 2


_layer = _names("add_layer.md")
_digital = _layer["ScaledLinear"]
_analog = ANALOG_CLASSES.pop(_digital)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Let the layer of the page be known in this file alone."""
    monkeypatch.setitem(ANALOG_CLASSES, _digital, _analog)
    module = ModuleType("add_layer")  # pickle looks classes up in their module
    vars(module).update(_layer)
    monkeypatch.setitem(sys.modules, "add_layer", module)


class TestAnalogScaledLinear(_layer["TestAnalogScaledLinear"]):
    """The test class of docs/contributing/add_layer.md, which inherits all checks."""

"""The table of settings holds every field and says what the code does."""

import dataclasses

import pytest

pytest.importorskip("griffe", reason="needs the extra 'docs'")

from aimc_lightning.config import TileConfig
from aimc_lightning.devices import list_converters, list_devices
from docs.tools import config_table
from docs.tools.config_sources import RANGES, SOURCES, UNITS

ROWS = {row.name: row for row in config_table.rows()}


def test_every_field_of_a_tile_has_a_row_with_its_default():
    for section in dataclasses.fields(TileConfig):
        value = getattr(TileConfig(), section.name)
        for item in dataclasses.fields(value):
            default = getattr(value, item.name)
            shown = ROWS[f"{section.name}.{item.name}"].default
            nested = dataclasses.is_dataclass(default)
            assert shown == (f"{type(default).__name__}()" if nested else repr(default))


def test_every_device_and_converter_is_in_the_table():
    shown = {cls.name for cls in config_table.OTHERS if hasattr(cls, "name")}
    assert {*list_devices(), *list_converters()} - shown <= {"lab", "steady"}  # those of the docs


def test_every_row_is_filled():
    assert len(ROWS) > 100
    for row in ROWS.values():
        assert all(row), row


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("adc.bits", "2 to 24 or None"),
        ("adc.bound", "above 0"),
        ("mapping.omega", "above 0 to 1"),
        ("input_range.init_batches", "0 or more"),
        ("distortion.v_offset_w_min", "any number"),
        ("clip.type", "'fixed', 'gaussian', 'channel_max' or None"),
        ("HermesDevice.g_max_us", "above 0 to 20.7 or None"),
        ("PCMDevice.nu_mean_law", "4 number(s)"),
    ],
)
def test_range_is_what_the_code_accepts(name, found):
    assert ROWS[name].range == found


def test_names_in_the_lists_of_sources_exist():
    sections = {name.split(".")[0] for name in ROWS}
    for name in (*SOURCES, *UNITS, *RANGES):
        assert name in ROWS or name in sections, name


@pytest.mark.parametrize("name", RANGES)
def test_values_of_stated_ranges_are_accepted_and_others_are_not(name):
    cls = next(cls for cls in config_table.OTHERS if cls.__name__ == name.split(".")[0])
    for value in RANGES[name].split(", "):
        cls(**{name.split(".")[1]: float(value)})
    with pytest.raises(ValueError, match=name.split(".")[1]):
        cls(**{name.split(".")[1]: 0.5})

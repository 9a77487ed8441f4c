"""Named settings and their numbers."""

import pytest

from aimc_lightning.config import TileConfig
from aimc_lightning.presets import get_preset, list_presets
from aimc_lightning.tiles.array import config_is_ideal


def test_names_are_sorted_and_hold_the_promised_ones():
    assert list_presets() == sorted(list_presets())
    assert {"standard_pcm", "ideal"} <= set(list_presets())


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_builds_and_is_documented(name):
    assert isinstance(get_preset(name), TileConfig)


@pytest.mark.parametrize(("field", "value"), [
    # hardware_model.md a.2; every one from aihwkit's StandardHWATrainingPreset.
    ("dac.steps", 254), ("adc.steps", 254), ("adc.bound", 10.0), ("noise.output_std", 0.04),
    ("noise.read_std", 0.0175), ("noise.read_type", "pcm"), ("noise.input_std", 0.0),
    ("ir_drop.scale", 1.0), ("input_range.noise_management", "none"),
    ("input_range.bound_management", "none"), ("mapping.max_inputs", 512),
    ("mapping.max_outputs", 512), ("mapping.weight_scaling", "column"), ("mapping.omega", 1.0),
    ("mapping.learn_out_scale", "column"), ("chip.device.g_max_us", 25.0),
    ("input_range.initial", 3.0), ("input_range.init_batches", 100),
    ("input_range.init_std_alpha", 3.0),
    ("input_range.min_percentage", 0.95), ("chip.compensation", "global"),
])  # fmt: skip
def test_standard_model_has_the_values_of_the_specification(field, value):
    owner = get_preset("standard_pcm")
    for part in field.split("."):
        owner = getattr(owner, part)
    assert owner == value


def test_standard_ir_drop_has_the_ratio_of_the_specification():
    assert get_preset("standard_pcm").ir_drop.g_ratio == pytest.approx(571428.57, abs=0.01)


def test_only_the_ideal_preset_is_ideal():
    assert [name for name in list_presets() if config_is_ideal(get_preset(name))] == ["ideal"]


@pytest.mark.parametrize(("name", "hint"), [
    ("standard_pmc", "Did you mean 'standard_pcm'"), ("Ideal", "known: .*ideal"), (None, "None"),
])  # fmt: skip
def test_unknown_preset_lists_the_known_ones(name, hint):
    with pytest.raises(ValueError, match=f"Unknown preset {name!r}.*{hint}|{hint}"):
        get_preset(name)

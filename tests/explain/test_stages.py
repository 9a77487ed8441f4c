"""Every stage is listed in its order, with the value it has and a source."""

import pytest

from aimc_lightning.config import TileConfig
from aimc_lightning.explain.stages import explain
from aimc_lightning.presets import list_presets


def _setting(config: TileConfig, name: str) -> str:
    return next(stage.setting for stage in explain(config) if stage.name == name)


@pytest.mark.parametrize("preset", list_presets())
def test_every_stage_of_every_preset_has_a_source(preset):
    stages = explain(preset)
    assert all(stage.source and stage.meaning and stage.setting for stage in stages)


def test_stages_stand_in_the_order_of_the_chain():
    parts = list(dict.fromkeys(stage.part for stage in explain("standard_pcm")))
    assert parts == ["input", "crossbar", "output", "digital", "training", "chip"]


@pytest.mark.parametrize(
    ("key", "value", "stage", "setting"),
    [
        ("adc.bits", 6, "ADC", "6 bit"),
        ("dac.bits", None, "DAC", "off"),
        ("noise.output_std", 0.1, "output noise", "0.1"),
        ("ir_drop.scale", 0.0, "IR drop", "off"),
        ("weight_noise.drop_connect", 0.01, "drop-connect", "0.01"),
        ("distortion.out_nonlinearity", 0.3, "S-shaped nonlinearity", "0.3"),
        ("chip.compensation", "column", "drift compensation", "column"),
    ],
)
def test_a_changed_value_shows_in_its_stage(key, value, stage, setting):
    assert _setting(TileConfig().with_values({key: value}), stage) == setting


def test_programming_noise_is_that_of_the_device():
    # 0.26348 uS folded at zero, 0.9527 uS at half, 1.0554 uS at full conductance; 20,000 draws.
    listed = _setting(TileConfig(), "programming noise").removesuffix(" uS").split(", ")
    values = [float(value) for value in listed]
    assert values == pytest.approx([0.154, 0.9527, 1.0554], rel=0.03)


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(ValueError, match="standard_pcm"):
        explain("nonsense")

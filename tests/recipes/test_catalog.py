import pytest
import yaml

from aimc_lightning.recipes import catalog
from aimc_lightning.recipes.catalog import STAGES, list_recipes, recipe_files
from aimc_lightning.zoo.registry import list_models

FILES = [(name, stage) for name in list_recipes() for stage in STAGES]


def test_every_zoo_entry_has_a_recipe():
    assert list_recipes() == list_models()


@pytest.mark.parametrize(("name", "stage"), FILES)
def test_every_key_carries_a_comment(name, stage):
    lines = recipe_files(name)[stage].read_text().splitlines()
    values = [line for line in lines if not line.startswith("#") and not line.endswith(":")]
    bare = [line for line in values if "#" not in line and "class_path" not in line]
    assert [line for line in bare if "momentum" not in line and "nesterov" not in line] == []


@pytest.mark.parametrize(("name", "stage"), FILES)
def test_first_lines_give_the_command(name, stage):
    head = recipe_files(name)[stage].read_text().split("seed_everything")[0]
    assert f"aimc-lightning run {name}" in head


def _evaluated(settings):
    """Return what AnalogTraining's settings say about evaluation, leaving out what only trains."""
    config = dict(settings.get("config") or {})
    config.pop("weight_noise", None)
    config.pop("clip", None)
    ranges = {**config.pop("input_range", {}), "init_batches": None}
    return config, ranges, settings.get("include"), settings.get("exclude")


@pytest.mark.parametrize("name", list_recipes())
def test_direct_mapping_uses_the_tiles_of_training(name):
    tiles = []
    for stage in ("hwa", "drift"):
        callbacks = yaml.safe_load(recipe_files(name)[stage].read_text())["trainer"]["callbacks"]
        assert callbacks[0]["class_path"].endswith(".AnalogTraining")
        assert callbacks[0]["init_args"].get("preset", "standard_pcm") == "standard_pcm"
        tiles.append(_evaluated(callbacks[0]["init_args"]))
    assert tiles[0] == tiles[1]


def test_unknown_recipe_names_the_closest():
    with pytest.raises(ValueError, match="known are .*Did you mean 'resnet8_digits'"):
        recipe_files("resnet8")


def test_missing_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "digital.yaml").touch()
    monkeypatch.setattr(catalog, "recipes_folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'net' lacks hwa.yaml, drift.yaml"):
        recipe_files("net")

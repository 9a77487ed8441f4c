import pytest
import torch

from aimc_lightning import checkpoint as module_under_test
from aimc_lightning.checkpoint import (
    METADATA_KEY,
    analog_metadata,
    load_from_checkpoint,
    migrate_metadata,
    read_metadata,
)
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.presets import get_preset
from aimc_lightning.same_conversion import check_same_conversion
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


def _saved(folder, *callbacks, where="init", **settings):
    module = toy(where, **settings)
    run = trainer(*callbacks, epochs=1)
    run.fit(module, ToyData())
    run.save_checkpoint(folder / "a.ckpt", weights_only=False)
    return module, folder / "a.ckpt"


@pytest.mark.parametrize("where", ["init", "configure_model"])
def test_loading_rebuilds_the_analog_module(where, tmp_path):
    module, path = _saved(tmp_path, AnalogTraining(NOISY), where=where)
    loaded = load_from_checkpoint(Toy, path)
    assert list(analog_layers(loaded)) == ["net.0", "net.2"]
    assert loaded.net[0].analog.config == NOISY
    for key, value in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_lightnings_own_loader_fails_on_an_analog_checkpoint(tmp_path):
    _, path = _saved(tmp_path, AnalogTraining())
    with pytest.raises(RuntimeError, match="Unexpected key"):
        Toy.load_from_checkpoint(path)


def test_settings_of_single_layers_come_back(tmp_path):
    _, path = _saved(tmp_path, AnalogTraining(NOISY, layers={"net.2": "standard_pcm"}))
    loaded = load_from_checkpoint(Toy, path)
    assert loaded.net[0].analog.config == NOISY
    assert loaded.net[2].analog.config == get_preset("standard_pcm")


def test_excluded_layer_stays_digital(tmp_path):
    _, path = _saved(tmp_path, AnalogTraining(exclude=["net.2"]))
    assert list(analog_layers(load_from_checkpoint(Toy, path))) == ["net.0"]


def test_keywords_override_saved_hyperparameters(tmp_path):
    _, path = _saved(tmp_path, AnalogTraining())
    assert load_from_checkpoint(Toy, path, fast=False).hparams.fast is False


def test_loaded_module_trains_on(tmp_path):
    _, path = _saved(tmp_path, AnalogTraining())
    trainer(AnalogTraining(), epochs=1).fit(load_from_checkpoint(Toy, path), ToyData())


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_from_checkpoint(Toy, tmp_path / "b.ckpt")


def test_digital_checkpoint_says_how_to_load_it(tmp_path):
    _, path = _saved(tmp_path)
    with pytest.raises(ValueError, match=r"is digital.*Toy.load_from_checkpoint"):
        load_from_checkpoint(Toy, path)


def test_analog_weights_without_description_say_so(tmp_path):
    _, path = _saved(tmp_path, AnalogTraining())
    content = torch.load(path, weights_only=True)
    del content[METADATA_KEY]
    torch.save(content, path)
    with pytest.raises(ValueError, match="no description of the conversion"):
        load_from_checkpoint(Toy, path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_file_is_an_error(share, tmp_path):
    _, path = _saved(tmp_path, AnalogTraining())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="truncated or corrupt"):
        load_from_checkpoint(Toy, path)


def test_file_of_something_else_is_an_error(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="not a Lightning checkpoint"):
        load_from_checkpoint(Toy, tmp_path / "weights.pt")


def test_checkpoint_with_python_objects_is_refused(tmp_path):
    torch.save({"state_dict": {}, "net": Toy}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="Python objects, which safe loading refuses"):
        load_from_checkpoint(Toy, tmp_path / "a.ckpt")


def test_other_width_is_another_architecture(tmp_path):
    _, path = _saved(tmp_path, AnalogTraining())
    with pytest.raises(ValueError, match=r"another architecture than Toy: size mismatch"):
        load_from_checkpoint(Toy, path, hidden=16)


def test_other_layers_are_another_architecture(tmp_path):
    class Flat(Toy):
        def _make(self):
            self.net = torch.nn.Linear(4, 3)

    _, path = _saved(tmp_path, AnalogTraining())
    with pytest.raises(ValueError, match=r"than Flat: no layer 'net\.0', 'net\.2'"):
        load_from_checkpoint(Flat, path)


def test_newer_format_is_refused(tmp_path):
    _, path = _saved(tmp_path, AnalogTraining())
    content = torch.load(path, weights_only=True)
    content[METADATA_KEY]["format_version"] = 2
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"format version 2 .*reads up to 1"):
        load_from_checkpoint(Toy, path)


def test_damaged_format_version_is_refused():
    with pytest.raises(ValueError, match="format version 'x'"):
        migrate_metadata({"format_version": "x"})


def test_digital_checkpoint_has_no_metadata():
    assert read_metadata({"state_dict": {}}) is None


def test_migration_runs_every_step_to_the_present(monkeypatch):
    monkeypatch.setattr(module_under_test, "FORMAT_VERSION", 3)
    steps = {1: lambda m: {**m, "a": 1}, 2: lambda m: {**m, "b": m["a"] + 1}}
    monkeypatch.setattr(module_under_test, "_MIGRATIONS", steps)
    assert migrate_metadata({"format_version": 1}) == {"format_version": 3, "a": 1, "b": 2}


def test_every_older_format_has_a_migration():
    known = set(range(1, module_under_test.FORMAT_VERSION))
    assert set(module_under_test._MIGRATIONS) == known


def test_same_conversion_passes():
    model = toy()
    convert_to_analog(model)
    here = analog_metadata(model)
    check_same_conversion(here, here, training=True)


def test_settings_of_training_alone_may_differ_where_chips_are_measured():
    models = toy(), toy()
    changes = {
        "weight_noise.std": 1.0,
        "clip.type": "gaussian",
        "input_range.init_times_s": (0, 3600),
        "input_range.init_batches": 3,
        "input_range.decay": 0.1,
    }
    for model, values in zip(models, ({}, changes), strict=True):
        convert_to_analog(model, get_preset("standard_pcm").with_values(values))
    here, there = map(analog_metadata, models)
    check_same_conversion(here, there, training=False)
    with pytest.raises(ValueError, match=r"weight_noise.std was 1.0 and is 3.0.*first run"):
        check_same_conversion(here, there, training=True)


@pytest.mark.parametrize(
    "values", [{"adc.bits": 6}, {"mapping.max_inputs": 4}, {"input_range.centred": True}]
)
def test_other_hardware_is_not_measured_in_place_of_the_trained(values):
    models = toy(), toy()
    for model, changed in zip(models, ({}, values), strict=True):
        convert_to_analog(model, get_preset("standard_pcm").with_values(changed))
    (name,) = values
    with pytest.raises(ValueError, match=f"{name} was .*evaluate --remap"):
        check_same_conversion(*map(analog_metadata, models), training=False)

"""Checkpoint folders: what comes back, and that nothing damaged is ever loaded."""

import json
import random

import pytest
import torch
from huggingface_hub import ModelCard
from torch import nn

from aimc_lightning import program_
from aimc_lightning.hub.architectures import build_architecture, register_architecture
from aimc_lightning.hub.folder import load_folder, save_pretrained, verify_checkpoint
from aimc_lightning.hub.pretrained import from_pretrained
from tests.helpers.checkpoints import contents, make_module


def test_loaded_module_has_every_tensor_bit_for_bit(module, checkpoint):
    loaded = load_folder(checkpoint)
    expected = module.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())
    assert loaded.out.weight is loaded.embed.weight
    assert not loaded.training


def test_programmed_chip_is_not_stored(module, checkpoint, tmp_path):
    program_(module, seed=1)
    again = save_pretrained(module, tmp_path / "again")
    assert contents(again)["model.safetensors"] == contents(checkpoint)["model.safetensors"]


def test_shared_tensor_is_stored_once(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["weights"]["shared"] == {"out.weight": "embed.weight"}


def test_half_precision_rounds_matrices_only(module, tmp_path):
    loaded = load_folder(save_pretrained(module, tmp_path / "half", half=True))
    assert torch.equal(loaded.hidden.weight, module.hidden.weight.half().float())
    assert torch.equal(loaded.hidden.bias, module.hidden.bias)


def test_config_says_what_stays_digital_and_why(checkpoint):
    layers = {row["name"]: row["reason"] for row in verify_checkpoint(checkpoint)["digital_layers"]}
    assert layers["norm"] == "normalisation is digital"
    assert layers["embed"].startswith("a look-up")


def test_card_has_one_result_for_each_time_with_chips_and_spread(checkpoint):
    found = ModelCard.load(checkpoint / "README.md").data.eval_results
    assert [entry.metric_value for entry in found] == pytest.approx([0.92, 0.89, 0.89])
    assert [entry.metric_args["chips"] for entry in found[1:]] == [3, 3]
    assert found[1].metric_args["std"] == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "recipe.yaml"])
def test_any_changed_byte_is_refused(checkpoint, name):
    good = (checkpoint / name).read_bytes()
    places = random.Random(0).sample(range(len(good)), min(60, len(good)))
    for place in places:
        changed = bytearray(good)
        changed[place] ^= 1
        (checkpoint / name).write_bytes(changed)
        with pytest.raises(ValueError, match=name):
            load_folder(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_file_is_refused(checkpoint, name, share):
    good = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(good[: int(share * len(good))])
    with pytest.raises(ValueError, match=f"{name}.*(truncated|damaged)"):
        load_folder(checkpoint)


def test_config_of_another_checkpoint_is_refused(checkpoint, tmp_path):
    other = save_pretrained(make_module(seed=1), tmp_path / "other")
    (other / "config.json").replace(checkpoint / "config.json")
    with pytest.raises(ValueError, match="belongs to another config"):
        load_folder(checkpoint)


def test_missing_weights_are_named(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing"):
        load_folder(checkpoint)


def test_pinned_hash_is_enforced(checkpoint):
    with pytest.raises(ValueError, match="Name the revision that was pinned"):
        from_pretrained(checkpoint, sha256="0" * 64)


def test_strict_loading_refuses_missing_weights(module, tmp_path):
    folder = save_pretrained(nn.Sequential(nn.Linear(2, 2)), tmp_path / "c", architecture="tied")
    with pytest.raises(ValueError, match="missing embed.weight"):
        load_folder(folder)
    with pytest.warns(UserWarning, match="strict=False: missing embed.weight"):
        load_folder(folder, strict=False)


def test_folder_with_other_files_is_not_replaced(module, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match="holds thesis.tex"):
        save_pretrained(module, tmp_path)


def test_architecture_that_is_not_registered_is_refused(module, tmp_path):
    folder = save_pretrained(module, tmp_path / "c", architecture="os.system")
    with pytest.raises(ValueError, match="'os.system', which is not registered"):
        load_folder(folder)


def test_name_cannot_stand_for_two_constructors():
    register_architecture("pair", nn.Linear)
    with pytest.raises(ValueError, match="'pair' is registered as torch.nn"):
        register_architecture("pair", nn.Conv2d)


def test_wrong_arguments_are_explained():
    with pytest.raises(ValueError, match="cannot be built from .*depth"):
        build_architecture("tied", {"depth": 3})


def test_not_a_number_is_not_saved(module, tmp_path):
    module.hidden.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"'hidden.bias' holds NaN"):
        save_pretrained(module, tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["tied", "a/b/c"])
def test_name_that_is_neither_folder_nor_id_is_explained(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="neither a folder nor a hub id"):
        from_pretrained(name)

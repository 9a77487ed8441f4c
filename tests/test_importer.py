"""Checkpoints in the forms of aihwkit and aihwkit-lightning; pickles that want to do harm."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from aimc_lightning import TileConfig, convert_to_analog
from aimc_lightning.importer import import_checkpoint

WIDE = TileConfig().with_values({"mapping.max_inputs": 4})


def analog(config=WIDE):
    module = nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 2))
    convert_to_analog(module, config, exclude=["last"])
    return module


def lightning_state():
    """Layer 0 as aihwkit-lightning stores it, on two rows of tiles."""
    return {
        "0.weight": torch.arange(24.0).view(3, 8),
        "0.bias": torch.ones(3),
        "0.input_range": torch.tensor([2.0, 5.0]),
        "0.input_range_update_idx": torch.zeros(2),
        "2.weight": torch.zeros(2, 3),
        "2.bias": torch.zeros(2),
    }


def aihwkit_state():
    """The same layer as aihwkit stores it: two tiles, scales apart from the weights."""
    weight, state = torch.arange(24.0).view(3, 8), {}
    for row in range(2):
        tile = f"0.analog_module.array.{row}.0."
        state[tile + "tile.weight"] = weight[:, 4 * row : 4 * row + 4] / 2.0
        state[tile + "mapping_scales"] = torch.tensor([2.0])
        state[tile + "input_range"] = torch.tensor([[2.0, 5.0][row]])
    digital = {k: v for k, v in lightning_state().items() if k.startswith("2.")}
    return {**state, "0.analog_module.bias": torch.ones(3), **digital}


def check(module):
    assert torch.equal(module[0].weight, torch.arange(24.0).view(3, 8))
    assert torch.equal(module[0].bias, torch.ones(3))
    assert [tile.input_range.item() for tile in module[0].analog.tiles] == [2.0, 5.0]


@pytest.mark.parametrize("state", [lightning_state(), aihwkit_state()])
def test_weights_scales_and_input_ranges_are_taken_over(state, tmp_path):
    save_file(state, tmp_path / "net.safetensors")
    module = analog()
    import_checkpoint(module, tmp_path / "net.safetensors")
    check(module)


def test_safe_file_of_torch_is_read(tmp_path):
    torch.save({"state_dict": lightning_state()}, tmp_path / "net.pt")
    module = analog()
    assert import_checkpoint(module, tmp_path / "net.pt") == ["0.input_range_update_idx"]
    check(module)


class Harm:
    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_code_in_a_pickle_is_never_run(tmp_path, allow_pickle):
    harm = Harm()
    harm.path = str(tmp_path / "harmed")
    torch.save({**lightning_state(), "rpu_config": harm}, tmp_path / "net.bin")
    with pytest.raises(ValueError, match="cannot be read"):
        import_checkpoint(analog(), tmp_path / "net.bin", allow_pickle=allow_pickle)
    assert not (tmp_path / "harmed").exists()


def test_settings_of_aihwkit_become_inert_behind_the_flag(tmp_path, monkeypatch):
    settings = type("InferenceRPUConfig", (), {"__module__": "aihwkit.simulator.configs"})
    package = type(os)("aihwkit.simulator.configs")
    package.InferenceRPUConfig = settings
    with monkeypatch.context() as patch:
        for name in ("aihwkit", "aihwkit.simulator", "aihwkit.simulator.configs"):
            patch.setitem(__import__("sys").modules, name, package)
        tile = {"analog_tile_weights": torch.ones(3, 8), "rpu_config": settings()}
        digital = {k: v for k, v in lightning_state().items() if k[0] == "2" or k == "0.bias"}
        torch.save({"0.analog_module.analog_tile_state": tile, **digital}, tmp_path / "net.bin")
    with pytest.raises(ValueError, match="allow_pickle=True"):
        import_checkpoint(analog("standard_pcm"), tmp_path / "net.bin")
    module = analog("standard_pcm")
    import_checkpoint(module, tmp_path / "net.bin", allow_pickle=True)
    assert torch.equal(module[0].weight, torch.ones(3, 8))


def test_plain_pickle_and_damaged_file_are_refused(tmp_path):
    (tmp_path / "net.bin").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "net.safetensors").write_bytes(b"none")
    for name in ("net.bin", "net.safetensors"):
        with pytest.raises(ValueError, match="cannot be read"):
            import_checkpoint(analog(), tmp_path / name, allow_pickle=name == "net.bin")


def test_checkpoint_that_does_not_fit_leaves_the_module_alone(tmp_path):
    save_file({**lightning_state(), "0.input_range": torch.ones(3)}, tmp_path / "net.safetensors")
    module = analog()
    before = module[0].weight.clone()
    with pytest.raises(ValueError, match="3 input ranges for 2 rows of tiles"):
        import_checkpoint(module, tmp_path / "net.safetensors")
    assert torch.equal(module[0].weight, before)

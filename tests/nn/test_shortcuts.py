"""Modules that would compute a layer without calling it."""

import copy
import io

import pytest
import torch
from torch import nn

from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.nn.base import analog_tiles
from aimc_lightning.presets import get_preset

swin = pytest.importorskip("torchvision.models.swin_transformer")


def _encoder() -> nn.TransformerEncoder:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)


def test_settings_of_the_fused_path_come_back_with_the_digital_layers():
    model = _encoder()
    convert_to_analog(model)
    assert not model.use_nested_tensor
    assert [layer.activation_relu_or_gelu for layer in model.layers] == [0, 0]
    convert_to_digital(model)
    assert model.use_nested_tensor
    assert [layer.activation_relu_or_gelu for layer in model.layers] == [1, 1]
    assert vars(model).keys() == vars(_encoder()).keys()


def test_transformer_layers_without_tiles_keep_the_fused_path():
    model = nn.Sequential(_encoder(), _encoder())
    convert_to_analog(model, exclude=["0.*"])
    assert model[0].use_nested_tensor
    assert not model[1].use_nested_tensor


def _window(version: str = "") -> nn.Module:
    torch.manual_seed(0)
    cls = getattr(swin, f"ShiftedWindowAttention{version}")
    return nn.Sequential(cls(8, [2, 2], [1, 1], num_heads=2)).double()


X = torch.randn(1, 4, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("version", ["", "V2"])
def test_window_attention_runs_on_tiles(version):
    digital, model = _window(version), _window(version)
    convert_to_analog(model)
    model(X).sum().backward()
    assert all(tile.out_scale.grad is not None for tile in analog_tiles(model).values())
    assert not torch.allclose(model(X), digital(X), atol=1e-6)


@pytest.mark.parametrize("version", ["", "V2"])
def test_window_attention_on_ideal_tiles_equals_the_digital_one(version):
    digital, model = _window(version), _window(version)
    convert_to_analog(model, "ideal")
    assert torch.equal(model(X), digital(X))
    convert_to_digital(model)
    convert_to_analog(model, get_preset("ideal").with_values({"adc.bound": 1e6}))
    torch.testing.assert_close(model(X), digital(X))


def test_window_attention_becomes_digital_again():
    model = _window()
    convert_to_analog(model)
    convert_to_digital(model)
    assert "forward" not in vars(model[0])


def test_copies_of_a_window_attention_use_their_own_tiles():
    model = _window()
    convert_to_analog(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        twin(X).sum().backward()
        assert all(tile.out_scale.grad is not None for tile in analog_tiles(twin).values())
    assert all(tile.out_scale.grad is None for tile in analog_tiles(model).values())


def test_kernel_that_takes_weights_in_training_is_not_used(monkeypatch):
    mamba = pytest.importorskip("transformers.models.mamba.modeling_mamba")
    config = pytest.importorskip("transformers").MambaConfig(
        hidden_size=8, num_hidden_layers=1, state_size=4
    )
    monkeypatch.setattr(mamba, "mamba_inner_fn", lambda *_, **__: pytest.fail("kernel was used"))
    model = nn.Sequential(mamba.MambaMixer(config, 0))
    report = convert_to_analog(model)
    # Older transformers call dt_proj and conv1d too, newer ones only read their weights.
    assert {"0.in_proj", "0.x_proj", "0.out_proj"} <= {row.name for row in report.converted}
    model(torch.randn(2, 5, 8)).sum().backward()
    assert model[0].training
    assert all(tile.out_scale.grad is not None for tile in analog_tiles(model).values())

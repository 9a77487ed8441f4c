"""Networks of torchvision and transformers at full size with random weights, on a CPU.

Run with ``pytest -m slow tests/test_real_networks.py -s``; it prints the tiles of each network.
"""

import copy
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.nn.base import analog_layers, analog_tiles, program_, set_time_
from aimc_lightning.presets import get_preset

pytestmark = pytest.mark.slow

#: Every effect off, but through the chain and over tiles of the standard size.
THROUGH_TILES = get_preset("ideal").with_values(
    {"mapping.max_inputs": 512, "mapping.max_outputs": 512, "mapping.learn_out_scale": "column"}
)
TORCHVISION = {
    "resnet18": 224,
    "resnet50": 96,
    "densenet121": 96,
    "wide_resnet50_2": 96,
    "mobilenet_v3_large": 96,
    "vit_b_16": 224,
    "swin_t": 96,
    "convnext_tiny": 96,
}
#: Model class, config class and settings that differ from its defaults; the defaults of the others
#: are the base size. ALBERT: albert-base-v2; Mamba: mamba-130m.
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertForMaskedLM", "BertConfig", {}),
    "albert": (
        "AlbertForMaskedLM",
        "AlbertConfig",
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {}),
    "distilbert": ("DistilBertForMaskedLM", "DistilBertConfig", {}),
    "t5": ("T5ForConditionalGeneration", "T5Config", {"decoder_start_token_id": 0}),
    "vit": ("ViTForImageClassification", "ViTConfig", {}),
    "mamba": ("MambaForCausalLM", "MambaConfig", {"num_hidden_layers": 24}),
}
Network = tuple[nn.Module, Callable[[nn.Module], Tensor]]


def _torchvision(name: str) -> Network:
    models = pytest.importorskip("torchvision.models")
    images = torch.randn(2, 3, TORCHVISION[name], TORCHVISION[name])
    return models.get_model(name, weights=None), lambda model: model(images)


def _transformers(name: str) -> Network:
    library = pytest.importorskip("transformers")
    cls, config, settings = TRANSFORMERS[name]
    model = getattr(library, cls)(getattr(library, config)(**settings))
    inputs: dict[str, Any] = {}
    if name == "vit":
        inputs["pixel_values"] = torch.randn(2, 3, 224, 224)
    else:
        inputs["input_ids"] = torch.randint(0, 1000, (2, 12))
    if name == "t5":
        inputs["labels"] = torch.randint(0, 1000, (2, 9))
    return model, lambda model: model(**inputs).logits


@pytest.fixture(params=[*TORCHVISION, *TRANSFORMERS])
def network(request) -> Iterator[Network]:
    torch.manual_seed(0)
    build = _torchvision if request.param in TORCHVISION else _transformers
    yield build(request.param)
    gc.collect()


def _owners(model: nn.Module) -> set[str]:
    return {
        name for name, module in model.named_modules() if list(module.parameters(recurse=False))
    }


def _check_report(model: nn.Module, report: Any, owners: set[str]) -> None:
    names = [row.name for row in (*report.converted, *report.kept)]
    assert len(names) == len(set(names))
    assert set(names) == owners
    assert all(row.tiles > 0 for row in report.converted)
    assert all(row.reason for row in report.kept)
    assert [row.name for row in report.converted] == list(analog_layers(model))


def test_network_converts_trains_and_equals_the_digital_one(network, request, capsys):
    model, forward = network
    owners, keys = _owners(model), list(model.state_dict())
    parameters = {id(parameter) for parameter in model.parameters()}
    model.eval()
    with torch.no_grad():
        expected = forward(model)
        convert_to_analog(model, "ideal")
        torch.testing.assert_close(forward(model), expected, rtol=1e-5, atol=1e-5)
        convert_to_digital(model)
        convert_to_analog(model, THROUGH_TILES)
        torch.testing.assert_close(forward(model), expected, rtol=1e-3, atol=1e-4)
        convert_to_digital(model)
    assert list(model.state_dict()) == keys
    assert {id(parameter) for parameter in model.parameters()} == parameters  # ties included

    report = convert_to_analog(model)
    _check_report(model, report, owners)
    model.train()
    forward(model).square().mean().backward()
    for name, tile in analog_tiles(model).items():
        assert tile.out_scale.grad is not None, f"{name} was never used"
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())

    program_(model.eval(), 1)
    set_time_(model, 3600.0, 1)
    with torch.no_grad():
        assert torch.isfinite(forward(model)).all()
    with capsys.disabled():
        kinds = sorted({f"{row.type}: {row.reason}" for row in report.kept})
        print(f"\n{request.node.callspec.params['network']}: {str(report).splitlines()[-1]}")
        print("  digital: " + "; ".join(kinds))


def test_copy_of_a_converted_window_attention_uses_its_own_tiles():
    model, forward = _torchvision("swin_t")
    convert_to_analog(model)
    twin = copy.deepcopy(model)
    forward(twin).mean().backward()
    assert all(tile.out_scale.grad is not None for tile in analog_tiles(twin).values())
    assert all(tile.out_scale.grad is None for tile in analog_tiles(model).values())

"""Networks of torchvision and transformers at full size with random weights, and one input each."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

#: Edge of the input images; the smallest at which the network keeps its own layers.
TORCHVISION = {
    "resnet18": 96,
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
NAMES = (*TORCHVISION, *TRANSFORMERS)
Network = tuple[nn.Module, Callable[[nn.Module], Tensor]]


def build_network(name: str) -> Network:
    """Return a network with random weights and what calls it; skips without its package."""
    return _torchvision(name) if name in TORCHVISION else _transformers(name)


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

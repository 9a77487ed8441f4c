"""Networks of torchvision and transformers at full size with random weights, and one input each."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

#: All take images of their own size, 224 x 224.
TORCHVISION = (
    "resnet18",
    "resnet50",
    "densenet121",
    "wide_resnet50_2",
    "mobilenet_v3_large",
    "vit_b_16",
    "swin_t",
    "convnext_tiny",
)
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
    images = torch.randn(2, 3, 224, 224)
    return models.get_model(name, weights=None), lambda model: model(images.to(_dtype(model)))


def _transformers(name: str) -> Network:
    library = pytest.importorskip("transformers")
    cls, config, settings = TRANSFORMERS[name]
    model = getattr(library, cls)(getattr(library, config)(**settings))
    inputs: dict[str, Any] = {}
    images = torch.randn(2, 3, 224, 224)
    if name != "vit":
        inputs["input_ids"] = torch.randint(0, 1000, (2, 12))
    if name == "t5":
        inputs["labels"] = torch.randint(0, 1000, (2, 9))
    if name == "vit":
        return model, lambda model: model(pixel_values=images.to(_dtype(model))).logits
    return model, lambda model: model(**inputs).logits


def _dtype(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype

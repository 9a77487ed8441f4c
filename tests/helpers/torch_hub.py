"""The cache of ``torch.hub`` with new weights under the names of torchvision's own."""

from pathlib import Path

import pytest
import torch

KIND = "IMAGENET1K_V1"


def write_pretrained(architecture: str, state: dict[str, object]) -> Path:
    """Write a state dict where torchvision looks before it downloads, and return the file."""
    models = pytest.importorskip("torchvision").models
    url = models.get_model_weights(architecture)[KIND].url
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path

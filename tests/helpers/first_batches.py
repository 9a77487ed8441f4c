"""Analog layers that have seen their first batches, for tests of tiles."""

import copy

from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog


def trained(layer: nn.Module, x: Tensor, config: TileConfig) -> nn.Sequential:
    """Return an analog copy that has set its ranges, and what else it learns of its inputs."""
    model = nn.Sequential(copy.deepcopy(layer))
    convert_to_analog(model, config)
    model.train()
    for _ in range(3):
        model(x)
    return model

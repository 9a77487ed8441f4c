"""Layers that can be analog or digital on their own."""

from torch import nn

from aimc_lightning.nn.base import analog_layers


def layer_groups(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the outermost analog layers, each with all analog layers within it, itself first.

    An attention and its output projection, for example, compute digitally together only.

    Args:
        module: Model with analog layers.

    Example:
        >>> layer_groups(nn.Sequential(nn.Linear(2, 2)))
        {}
    """
    groups: dict[str, list[str]] = {}
    for name in analog_layers(module):
        outer = next((group for group in groups if name.startswith(f"{group}.")), name)
        groups.setdefault(outer, []).append(name)
    return {outer: tuple(members) for outer, members in groups.items()}

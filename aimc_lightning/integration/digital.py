"""Compute an analog model digitally for a while, without touching it."""

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import nn

from aimc_lightning.conversion import convert_to_digital
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.nn.sharded import whole_parameters


@contextmanager
def digital_layers(module: nn.Module, names: Collection[str] | None = None) -> Iterator[None]:
    """Let the analog layers compute digitally, with the weights they have now.

    Args:
        module: Model with analog layers, without a chip. Its parameters are not touched.
        names: Those to compute digitally, with all that lies within them; ``None``: all.
    """
    layers = analog_layers(module)
    if names is not None:
        layers = {name: layers[name] for name in names}
    for layer in layers.values():
        with whole_parameters(layer):
            holder = nn.Sequential(copy.deepcopy(layer))
        convert_to_digital(holder)
        vars(layer)["forward"] = holder[0].forward
    try:
        yield
    finally:
        for layer in layers.values():
            vars(layer).pop("forward", None)

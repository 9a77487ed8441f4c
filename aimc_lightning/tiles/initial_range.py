"""The start of a tile's learned input range, from the inputs of the first batches."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aimc_lightning.functional.input_range import (
    relative_error,
    searched_input_range,
    updated_input_range,
)
from aimc_lightning.functional.mvm import analog_mvm, faded
from aimc_lightning.functional.product import LinearProduct, Product
from aimc_lightning.tiles.device_noise import share_left

if TYPE_CHECKING:
    from aimc_lightning.tiles.tile import AnalogTile

# Enough to tell neighbouring ranges apart; the mean over batches does the rest.
_VECTORS = 256
_IMAGES = 4


def next_input_range(
    tile: "AnalogTile", x: Tensor, weight: Tensor, product: Product, batches: Tensor
) -> tuple[Tensor, Tensor]:
    """Return range and number of batches after one more batch, by the tile's ``init_rule``.

    Args:
        tile: The tile; its range and its settings are read.
        x: Inputs of the tile, ``(..., in_features)`` or ``(batch, channels, *space)``.
        weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units.
        product: How inputs meet weights.
        batches: Number of batches seen so far, integer scalar tensor.
    """
    ranges = tile.config.input_range
    if ranges.init_rule == "std":
        return updated_input_range(tile.input_range, batches, x, ranges.init_std_alpha)
    return least_error_range(tile, x, weight, product, batches)


@torch.no_grad()
def least_error_range(
    tile: "AnalogTile", x: Tensor, weight: Tensor, product: Product, batches: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the same by rule ``mvm_error``: the product of a few inputs is tried.

    Large fresh currents are clipped by the ADC, small aged ones drown in its noise; the error is
    the mean over the times of ``init_times_s``.

    Args:
        tile: See :func:`next_input_range`.
        x: The same.
        weight: The same.
        product: The same.
        batches: The same.
    """
    linear = isinstance(product, LinearProduct)
    with torch.autocast(x.device.type, enabled=False):
        few, wide = _few(x, linear), weight.float()
        scale, one = tile.out_scale.float(), torch.ones((), device=x.device)
        ideal = product.forward(few, wide) * product.per_output(scale.expand(len(wide)))
        fresh = tile.noise_free(weight, integers=linear)
        chip, times = tile.config.chip, tile.config.input_range.init_times_s
        shares = [share_left(chip, time_s) for time_s in times]
        tiles = [fresh if share == 1 else faded(fresh, share) for share in shares]

        def errors(candidates: Tensor) -> Tensor:
            # A range c is the range 1 for inputs x / c, so one product tries all of them.
            width = candidates.float().view(-1, *(1,) * few.dim())
            inputs, found = (few / width).flatten(0, 1), []
            for prepared in tiles:
                y = analog_mvm(inputs, wide, one, scale, prepared, product)
                y = y.float().unflatten(0, (len(candidates), -1)) * width
                found.append(relative_error(y, ideal, -1 if linear else 1 - ideal.dim()))
            return torch.stack(found).mean(0)

        return searched_input_range(tile.input_range, batches, few, errors)


def _few(x: Tensor, linear: bool) -> Tensor:
    """Return some of the inputs, spread over the batch, in single precision."""
    x, wanted = (x.reshape(-1, x.shape[-1]), _VECTORS) if linear else (x, _IMAGES)
    return x[:: -(-len(x) // wanted) or 1].float().contiguous()

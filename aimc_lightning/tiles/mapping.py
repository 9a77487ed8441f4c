"""How a weight matrix is cut into tiles and scaled to normalised weights."""

import math

import torch
from torch import Tensor

from aimc_lightning.tile_config import MappingConfig


def split_sizes(size: int, limit: int) -> list[int]:
    """Return the sizes of the nearly equal parts of at most ``limit``, larger parts first.

    Args:
        size: Rows or columns to be cut, positive.
        limit: Largest part; 0 is no limit.

    Source:
        IBM/aihwkit, ``src/aihwkit/simulator/tiles/array.py``, ``get_split_sizes``.

    Example:
        >>> split_sizes(1300, 512)
        [434, 433, 433]
    """
    if limit <= 0 or size <= limit:
        return [size]
    parts = math.ceil(size / limit)
    small, larger = divmod(size, parts)
    return [small + 1] * larger + [small] * (parts - larger)


def split_channels(channels: int, kernel_size: int, limit: int) -> list[int]:
    """Return how many channels each part of a convolution holds, cut only between channels.

    Args:
        channels: Input channels of one group.
        kernel_size: Elements of the kernel, each a row of the crossbar for each channel.
        limit: Rows of a crossbar; 0 is no limit.

    Raises:
        ValueError: If not even one channel fits.

    Source:
        IBM/aihwkit, ``src/aihwkit/nn/modules/conv_mapped.py``.

    Example:
        >>> split_channels(64, 9, 512)
        [32, 32]
    """
    if limit <= 0:
        return [channels]
    if kernel_size > limit:
        raise ValueError(
            f"A kernel of {kernel_size} elements does not fit into a tile of {limit} inputs; raise "
            "MappingConfig.max_inputs or set conv_split='unfold'."
        )
    return split_sizes(channels, limit // kernel_size)


def mapping_scale(weight: Tensor, mapping: MappingConfig, out_sizes: list[int]) -> Tensor:
    r"""Return the digital scale that turns normalised weights back into logical ones.

    .. math:: s_i = \max_j |W_{ij}| / \omega

    over a column, or over a crossbar with tile-wise scaling; 1 where all weights are zero.

    Args:
        weight: Logical weights of the tiles, ``(out, ...)``, in digital units.
        mapping: ``weight_scaling`` and ``omega``.
        out_sizes: Outputs of each crossbar.

    Returns:
        Scale per output, ``(out,)``, in digital units per normalised weight.

    Source:
        IBM/aihwkit, ``src/aihwkit/simulator/parameters/mapping.py``.

    Example:
        >>> import torch
        >>> mapping_scale(torch.tensor([[2.0, -4.0], [0.0, 0.0]]), MappingConfig(), [2])
        tensor([4., 1.])
    """
    with torch.no_grad():
        flat = weight.detach().flatten(1)
        # Two reductions read the weights twice; |W| would be written out as well.
        largest = torch.maximum(flat.amax(1), -flat.amin(1))
        if mapping.weight_scaling == "tile":
            parts = [part.amax().expand(len(part)) for part in largest.split(out_sizes)]
            largest = torch.cat(parts)
        scale = largest / mapping.omega
        return torch.where(scale > 0, scale, torch.ones_like(scale))

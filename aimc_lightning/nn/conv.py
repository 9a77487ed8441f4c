"""Convolutions of one to three dimensions on analog tiles."""

import itertools
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.product import ConvProduct, LinearProduct
from aimc_lightning.nn.base import adopt
from aimc_lightning.tiles.array import TileArray
from aimc_lightning.tiles.mapping import split_channels, split_sizes
from aimc_lightning.tiles.periphery import added

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


def _array(layer: Conv, config: TileConfig) -> tuple[TileArray, bool]:
    """Return the tiles of a convolution, and whether patches are unfolded.

    A convolution that needs one tile alone is the same either way and runs natively.
    """
    channels, kernel = layer.in_channels // layer.groups, layer.weight[0, 0].numel()
    mapping = config.mapping
    rows = split_sizes(channels * kernel, mapping.max_inputs)
    unfold = config.input_range.per_vector or (mapping.conv_split == "unfold" and len(rows) > 1)
    if not unfold:
        sizes = split_channels(channels, kernel, mapping.max_inputs)
        array = TileArray(
            layer.out_channels, sizes, config, groups=layer.groups, kernel_size=kernel
        )
    elif layer.groups > 1:
        raise ValueError(
            f"A convolution with {layer.groups} groups runs natively only; use "
            "MappingConfig.conv_split='channel' and no per-vector input factor."
        )
    else:
        if mapping.conv_split == "channel" and len(rows) > 1:
            rows = [n * kernel for n in split_channels(channels, kernel, mapping.max_inputs)]
        array = TileArray(layer.out_channels, rows, config)
    return array.to(layer.weight.device, layer.weight.dtype).train(layer.training), unfold


def _same_padding(layer: Any) -> list[int]:  # noqa: ANN401 - one to three dimensions
    """Return padding for ``F.pad`` (last axis first), uneven where the kernel is even."""
    if layer.padding != "same":
        sides = [(p, p) for p in layer.padding]
    else:
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    return list(itertools.chain.from_iterable(reversed(sides)))


def _forward(layer: Conv, x: Tensor) -> Tensor:
    space = len(layer.kernel_size)
    array: TileArray = layer.analog  # type: ignore[assignment]
    batched = x.dim() == space + 2
    x = x if batched else x.unsqueeze(0)
    padding = (0,) * space
    pad = [0] * (2 * space) if layer.padding == "valid" else _same_padding(layer)
    if layer.padding_mode == "zeros" and pad[::2] == pad[1::2]:
        padding = tuple(reversed(pad[::2]))  # symmetric zeros are left to the convolution itself
    elif any(pad):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = F.pad(x, pad, mode=mode)
    if layer.unfolds_patches:
        y = _unfolded(layer, array, x, padding)
    else:
        product = ConvProduct(layer.stride, padding, layer.dilation, layer.groups)
        y = array(x, layer.weight, product)
    if layer.bias is not None:
        y = added(y, layer.bias.to(y.dtype).view(-1, *(1,) * space))
    return y if batched else y.squeeze(0)


def _unfolded(layer: Conv, array: TileArray, x: Tensor, padding: tuple[int, ...]) -> Tensor:
    """Run each patch as a vector, features ordered channel, then kernel axes."""
    space = len(layer.kernel_size)
    if any(padding):
        x = F.pad(x, list(itertools.chain.from_iterable((p, p) for p in reversed(padding))))
    for axis in range(space):
        span = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        x = x.unfold(2 + axis, span, layer.stride[axis])
        x = x[..., :: layer.dilation[axis]]
    # (batch, channels, *places, *kernel) -> (batch, *places, channels * kernel)
    places = x.shape[2 : 2 + space]
    x = x.movedim(1, 1 + space).reshape(x.shape[0], *places, -1)
    y = array(x, layer.weight.flatten(1), LinearProduct())
    return y.movedim(-1, 1)


def _from_digital(cls: type, layer: Any, config: TileConfig) -> Any:  # noqa: ANN401 - one to three dimensions
    array, unfold = _array(layer, config)
    new: Any = adopt(layer, cls)
    new.analog, new.unfolds_patches, new.digital_class = array, unfold, type(layer)
    return new


def _to_digital(analog: Any) -> Any:  # noqa: ANN401 - one to three dimensions
    layer: Any = adopt(analog, analog.digital_class)
    del layer.analog, layer.unfolds_patches, layer.digital_class
    return layer


def _crossbar_weight(layer: Conv) -> Tensor:
    return layer.weight.flatten(1) if layer.unfolds_patches else layer.weight


class AnalogConv1d(nn.Conv1d):
    """A convolution whose product runs on analog tiles; the bias is added digitally.

    ``weight`` and ``bias`` are those of the digital layer. Make one with ``from_digital``.

    Example:
        >>> import torch
        >>> layer = AnalogConv1d.from_digital(torch.nn.Conv1d(2, 3, 3), TileConfig())
        >>> layer(torch.zeros(1, 2, 8)).shape
        torch.Size([1, 3, 6])
    """

    analog: TileArray
    unfolds_patches: bool
    from_digital: Any = classmethod(_from_digital)
    to_digital = _to_digital
    crossbar_weight = _crossbar_weight

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution, ``(batch, channels, length)`` to ``(batch, out, length)``."""
        return super().forward(input) if self.analog.bypass else _forward(self, input)


class AnalogConv2d(nn.Conv2d):
    """A convolution whose product runs on analog tiles; the bias is added digitally.

    ``weight`` and ``bias`` are those of the digital layer. Make one with ``from_digital``.

    Example:
        >>> import torch
        >>> layer = AnalogConv2d.from_digital(torch.nn.Conv2d(2, 3, 3), TileConfig())
        >>> layer(torch.zeros(1, 2, 8, 8)).shape
        torch.Size([1, 3, 6, 6])
    """

    analog: TileArray
    unfolds_patches: bool
    from_digital: Any = classmethod(_from_digital)
    to_digital = _to_digital
    crossbar_weight = _crossbar_weight

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution, ``(batch, channels, height, width)`` in and out."""
        return super().forward(input) if self.analog.bypass else _forward(self, input)


class AnalogConv3d(nn.Conv3d):
    """A convolution whose product runs on analog tiles; the bias is added digitally.

    ``weight`` and ``bias`` are those of the digital layer. Make one with ``from_digital``.

    Example:
        >>> import torch
        >>> layer = AnalogConv3d.from_digital(torch.nn.Conv3d(2, 3, 3), TileConfig())
        >>> layer(torch.zeros(1, 2, 4, 4, 4)).shape
        torch.Size([1, 3, 2, 2, 2])
    """

    analog: TileArray
    unfolds_patches: bool
    from_digital: Any = classmethod(_from_digital)
    to_digital = _to_digital
    crossbar_weight = _crossbar_weight

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution, ``(batch, channels, depth, height, width)`` in and out."""
        return super().forward(input) if self.analog.bypass else _forward(self, input)

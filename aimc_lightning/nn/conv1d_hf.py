"""The linear layer with transposed weights that Hugging Face transformers calls ``Conv1D``.

It is known by name, so that the library does not depend on transformers.
"""

from typing import Any

import torch
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.nn.base import adopt, restore
from aimc_lightning.tiles.array import TileArray


class AnalogConv1DHF(nn.Module):
    """A Hugging Face ``Conv1D`` whose product runs on analog tiles; the bias is added digitally.

    ``weight`` is ``(in_features, out_features)`` as in the digital layer. Make one with
    :meth:`from_digital`.

    Source:
        Layout as in huggingface/transformers, ``src/transformers/pytorch_utils.py``, ``Conv1D``.

    Example:
        >>> layer = torch.nn.Module()
        >>> layer.weight, layer.bias = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(3))
        >>> AnalogConv1DHF.from_digital(layer, TileConfig())(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    analog: TileArray
    weight: nn.Parameter
    bias: nn.Parameter

    @classmethod
    def from_digital(cls, layer: nn.Module, config: TileConfig) -> "AnalogConv1DHF":
        """Return an analog layer that shares the parameters of ``layer``."""
        new: Any = adopt(layer, cls)
        in_features, out_features = new.weight.shape
        array = TileArray.for_linear(out_features, in_features, config)
        new.analog = array.to(new.weight.device, new.weight.dtype).train(layer.training)
        new.digital_class = type(layer)
        return new

    def to_digital(self) -> nn.Module:
        """Return the layer it was made from, with the same parameter objects."""
        return restore(self)

    def crossbar_weight(self) -> Tensor:
        """Return the logical weights as the tiles hold them, ``(out_features, in_features)``."""
        return self.weight.t()

    def forward(self, x: Tensor) -> Tensor:
        """Return the analog product plus bias.

        Args:
            x: Shape ``(..., in_features)``, floating point.

        Returns:
            Shape ``(..., out_features)``.
        """
        if self.analog.bypass:
            # The very call of the digital layer, so that the result is the same to the last bit.
            y = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
            return y.view(*x.shape[:-1], -1)
        y = self.analog(x, self.weight.t(), LinearProduct())
        return y + self.bias.to(y.dtype)

    def extra_repr(self) -> str:
        """Return the sizes."""
        in_features, out_features = self.weight.shape
        return f"in_features={in_features}, out_features={out_features}"

"""Linear layer on analog tiles."""

from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.nn.base import adopt
from aimc_lightning.tiles.array import TileArray
from aimc_lightning.tiles.periphery import added


class AnalogLinear(nn.Linear):
    """A linear layer whose product runs on analog tiles; the bias is added digitally.

    ``weight`` and ``bias`` are those of the digital layer. Make one with :meth:`from_digital`.

    Example:
        >>> import torch
        >>> layer = AnalogLinear.from_digital(torch.nn.Linear(4, 3), TileConfig())
        >>> layer(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    analog: TileArray
    digital_class: type[nn.Linear]

    @classmethod
    def from_digital(cls, layer: nn.Linear, config: TileConfig) -> "AnalogLinear":
        """Return an analog layer that shares the parameters of ``layer``."""
        new = adopt(layer, cls)
        array = TileArray.for_linear(layer.out_features, layer.in_features, config)
        new.analog = array.to(layer.weight.device, layer.weight.dtype).train(layer.training)
        new.digital_class = type(layer)
        return new

    def to_digital(self) -> nn.Linear:
        """Return the layer it was made from, with the same parameter objects."""
        layer = adopt(self, self.digital_class)
        del layer.analog, layer.digital_class
        return layer

    def crossbar_weight(self) -> Tensor:
        """Return the logical weights as the tiles hold them, ``(out_features, in_features)``."""
        return self.weight

    def forward(self, input: Tensor) -> Tensor:
        """Return the analog product plus bias.

        Args:
            input: Shape ``(..., in_features)``, floating point.

        Returns:
            Shape ``(..., out_features)``.
        """
        if self.analog.bypass:
            return super().forward(input)
        y = self.analog(input, self.weight, LinearProduct())
        return y if self.bias is None else added(y, self.bias.to(y.dtype))

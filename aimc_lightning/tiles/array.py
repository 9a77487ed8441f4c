"""The tiles of one layer: inputs are cut over rows of crossbars, partial sums added digitally."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.mvm import PreparedTile
from aimc_lightning.functional.product import LinearProduct, Product
from aimc_lightning.tiles.mapping import split_sizes
from aimc_lightning.tiles.periphery import added, build_periphery
from aimc_lightning.tiles.splitting import OutlierSplitting, rows_with_copies
from aimc_lightning.tiles.tile import AnalogTile


class TileArray(nn.Module):
    """All tiles of one weight matrix.

    Args:
        out_features: Outputs (columns of all crossbars beside each other).
        in_sizes: Second-axis entries of the weight (features, or channels of one group) that each
            row of crossbars takes.
        config: Settings of the tiles.
        groups: Groups of a convolution.
        kernel_size: Elements of the kernel, 1 for linear layers.
        stepwise: Whether the inputs come step by step, as those of a recurrent matrix, which are
            neither centred nor split.
    """

    def __init__(
        self,
        out_features: int,
        in_sizes: list[int],
        config: TileConfig,
        *,
        groups: int = 1,
        kernel_size: int = 1,
        stepwise: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.in_sizes = in_sizes
        self.groups = groups
        self.kernel_size = kernel_size
        self.out_sizes = split_sizes(out_features, config.mapping.max_outputs)
        self.tiles = nn.ModuleList(self._tile(size, stepwise) for size in in_sizes)
        #: Whether the array computes exactly what the digital layer does.
        self.is_ideal = config_is_ideal(config)
        #: Shown the inputs of every product, by evaluations that look at single layers.
        self.observer: Callable[[Tensor, Product], None] | None = None

    @classmethod
    def for_linear(
        cls, out_features: int, in_features: int, config: TileConfig, *, stepwise: bool = False
    ) -> "TileArray":
        """Return the tiles of a linear layer."""
        sizes = split_sizes(in_features, config.mapping.max_inputs)
        return cls(out_features, sizes, config, stepwise=stepwise)

    def _tile(self, inputs: int, stepwise: bool) -> AnalogTile:
        if stepwise:
            return AnalogTile(self.out_sizes, self.config)
        splitting = None
        if self.config.mapping.split_outliers and self.groups == 1:
            rows = rows_with_copies(inputs, self.kernel_size, self.config.mapping.max_inputs)
            splitting = OutlierSplitting(inputs, rows) if rows > inputs else None
        return AnalogTile(self.out_sizes, self.config, inputs * self.groups, splitting)

    @property
    def rows(self) -> list[int]:
        """Rows used in each row of crossbars, those of repeated inputs included."""
        return [
            (size if tile.splitting is None else tile.splitting.rows) * self.kernel_size
            for size, tile in zip(self.in_sizes, self._in_order(), strict=True)
        ]

    @property
    def crossbars(self) -> list[tuple[int, int]]:
        """Rows and columns used in each crossbar."""
        return [(row, column) for row in self.rows for column in self.out_sizes]

    @property
    def programmed(self) -> bool:
        """Whether a chip is present."""
        return any(tile.chip is not None for tile in self.tiles)

    @property
    def bypass(self) -> bool:
        """Whether the digital layer itself may run: nothing analog would change the result."""
        return self.is_ideal and not self.programmed

    def weight_parts(self, weight: Tensor) -> list[Tensor]:
        """Return the logical weights of each tile, views along the second axis."""
        return list(weight.split(self.in_sizes, 1)) if len(self.in_sizes) > 1 else [weight]

    def input_parts(self, x: Tensor, product: Product) -> list[Tensor]:
        """Return the inputs of each tile."""
        if len(self.in_sizes) == 1:
            return [x]
        if isinstance(product, LinearProduct):
            return list(x.split(self.in_sizes, -1))
        grouped = x.unflatten(1, (self.groups, -1)).split(self.in_sizes, 2)
        return [part.flatten(1, 2) for part in grouped]

    def _in_order(self) -> list[AnalogTile]:
        return list(self.tiles)  # type: ignore[arg-type]

    def prepare(self, weight: Tensor, *, integers: bool = False) -> list[PreparedTile]:
        """Return the weights of all tiles for one forward pass.

        Args:
            weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units.
            integers: Whether they may be 8-bit integers, which only a linear product reads.
        """
        return [
            tile.prepare(part, integers=integers)
            for tile, part in zip(self._in_order(), self.weight_parts(weight), strict=True)
        ]

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        product: Product,
        prepared: list[PreparedTile] | None = None,
    ) -> Tensor:
        """Return the digital sum over the tiles, without bias.

        Args:
            x: Inputs, ``(..., in_features)`` or ``(batch, channels, *space)``.
            weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units.
            product: How inputs meet weights.
            prepared: From :meth:`prepare`, when one draw of noise serves several products.

        Returns:
            Outputs in digital units.

        Raises:
            TypeError: If the inputs are integers.
        """
        if not x.is_floating_point():
            raise TypeError(
                f"An analog layer takes floating-point inputs, got {x.dtype}; convert them, for "
                "example with x.float()."
            )
        if self.observer is not None:
            self.observer(x, product)
        total: Tensor | None = None
        ready = [None] * len(self.tiles) if prepared is None else prepared
        xs, weights = self.input_parts(x, product), self.weight_parts(weight)
        for tile, part, part_weight, state in zip(self.tiles, xs, weights, ready, strict=True):
            y = tile(part, part_weight, product, state)
            total = y if total is None else added(total, y)
        assert total is not None
        return total

    def set_config_(self, config: TileConfig) -> None:
        """Take other settings; trained ranges, scales and a programmed chip stay as they are.

        Raises:
            ValueError: If the mapping, or mode or centring of the input range differ.
        """
        ranges, before = config.input_range, self.config.input_range
        if config.mapping != self.config.mapping or (
            (ranges.mode, ranges.centred) != (before.mode, before.centred)
        ):
            raise ValueError(
                "mapping, input_range.mode and input_range.centred shape what is trained; they "
                "cannot change on a trained array. Convert the digital model anew with the other "
                "config."
            )
        self.config = config
        self.is_ideal = config_is_ideal(config)
        for tile in self._in_order():
            tile.config = config
            tile.periphery = build_periphery(config)

    @torch.no_grad()
    def clip_(self, weight: Tensor) -> None:
        """Clip the logical weights of every tile in place."""
        for tile, part in zip(self._in_order(), self.weight_parts(weight), strict=True):
            tile.clip_(part)

    @torch.no_grad()
    def effective_weight(self, weight: Tensor) -> Tensor:
        """Return the weights of the digital layer with the learned output scales folded in."""
        parts = []
        for tile, part in zip(self._in_order(), self.weight_parts(weight), strict=True):
            scale = tile.out_scale.to(part.dtype).view(-1, *(1,) * (part.dim() - 1))
            parts.append(part * scale)
        return torch.cat(parts, 1)

    def program_(self, weight: Tensor, generator: torch.Generator) -> None:
        """Programme every tile with the present weights."""
        for tile, part in zip(self._in_order(), self.weight_parts(weight), strict=True):
            tile.program_(part, generator)

    def extra_repr(self) -> str:
        """Return number and sizes of the tiles."""
        return f"in_sizes={self.in_sizes}, out_sizes={self.out_sizes}"


def config_is_ideal(config: TileConfig) -> bool:
    """Return whether a tile without chip computes exactly the digital product.

    Example:
        >>> config_is_ideal(TileConfig())
        False
    """
    off = config.distortion
    return (
        config.dac.bits is None
        and config.dac.asymmetry == 0
        and config.adc.bound is None
        and config.adc.asymmetry == 0
        and config.input_range.mode == "off"
        and not config.input_range.per_vector
        and config.noise.output_std == config.noise.read_std == config.noise.input_std == 0
        and config.ir_drop.scale == 0
        and off.out_nonlinearity == off.r_series == off.v_offset_std == off.polarity_std == 0
        and (config.weight_noise.type == "none" and config.weight_noise.drop_connect == 0)
        and config.mapping.learn_out_scale is None
    )

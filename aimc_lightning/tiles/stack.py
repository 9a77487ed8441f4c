"""Equal tiles of one matrix stacked on a leading axis, so that one batched product serves them."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery
from aimc_lightning.functional.integer_weights import IntegerWeights
from aimc_lightning.functional.mvm import PreparedTile
from aimc_lightning.tiles.array import TileArray


class TileGroup(NamedTuple):
    """Neighbouring tiles with equally many inputs, stacked on a leading axis.

    Attributes:
        tiles: Which tiles of the array.
        inputs: Which input features.
        weights: Normalised weights, ``(tiles, out, in)`` each.
        mapping_scale: Digital units per normalised weight, ``(tiles, out)`` or ``(tiles, 1)``.
        periphery: Numbers of the signal chain; vectors over outputs are ``(tiles, out)``.
        generator: Random numbers of a chip; ``None``: torch's own.
    """

    tiles: slice
    inputs: slice
    weights: CrossbarWeights
    mapping_scale: Tensor
    periphery: Periphery
    generator: torch.Generator | None

    def shape(self, rows: int) -> tuple[int, int, int]:
        """Return the shape of the products of ``rows`` inputs."""
        tiles, out, _ = self.weights.weight.shape
        return tiles, rows, out

    def with_weights(self, weight: Tensor | None) -> "TileGroup":
        """Return the group with these normalised weights and nothing derived from them.

        ``None`` leaves none behind, for keeping a group without its large tensors.
        """
        weight = self.weights.weight.new_empty(0) if weight is None else weight
        return self._replace(weights=CrossbarWeights(weight, self.weights.in_features))

    def grouped(self, x: Tensor) -> Tensor:
        """Return the inputs of these tiles, ``(batch, in)`` to ``(tiles, batch, in)``."""
        tiles = self.weights.weight.shape[0]
        return x[:, self.inputs].unflatten(1, (tiles, -1)).transpose(0, 1)

    def widths(self, ranges: Tensor) -> Tensor:
        """Return the input ranges of these tiles, ``(tiles, 1, 1)``."""
        return ranges[self.tiles].abs().to(self.weights.weight.dtype).view(-1, 1, 1)

    def output_scales(self, scales: Tensor) -> Tensor:
        """Return learned times mapping scale, ``(tiles, 1, out)``."""
        dtype = self.weights.weight.dtype
        return (scales[self.tiles] * self.mapping_scale).to(dtype).unsqueeze(1)


def tile_groups(array: TileArray, weight: Tensor) -> list[TileGroup]:
    """Prepare the weights of an array for one pass over a sequence.

    Args:
        array: Tiles of a linear matrix.
        weight: Logical weights, ``(out, in)``, in digital units.

    Returns:
        At most two groups, since a matrix is cut into nearly equal parts.

    Example:
        >>> from aimc_lightning.config import TileConfig
        >>> array = TileArray.for_linear(4, 650, TileConfig())
        >>> [group.weights.weight.shape for group in tile_groups(array, torch.ones(4, 650))]
        [torch.Size([2, 4, 325])]
    """
    prepared = array.prepare(weight, integers=True)
    groups = []
    tile = feature = 0
    for size, equal in itertools.groupby(array.in_sizes):
        count = len(list(equal))
        tiles = slice(tile, tile + count)
        inputs = slice(feature, feature + count * size)
        chip: Any = None if array.training else array.tiles[tile].chip
        generator = None if chip is None else chip.generator
        groups.append(_stacked(prepared[tiles], tiles, inputs, generator))
        tile, feature = tiles.stop, inputs.stop
    return groups


def _stacked(
    parts: list[PreparedTile], tiles: slice, inputs: slice, generator: torch.Generator | None
) -> TileGroup:
    weights = _stack_weights([part.weights for part in parts])
    scale = torch.stack([part.mapping_scale for part in parts])
    first = parts[0].periphery
    per_output: dict[str, Any] = {
        name: torch.stack([getattr(part.periphery, name) for part in parts])
        for name in ("v_offset", "steepness", "output_noise_factor")
        if getattr(first, name) is not None
    }
    slope = first.slope
    if isinstance(slope, Tensor):
        slope = torch.stack([torch.as_tensor(part.periphery.slope) for part in parts])
        slope = slope.view(-1, 1, 1).to(weights.weight)
    periphery = first._replace(slope=slope, **per_output)
    return TileGroup(tiles, inputs, weights, scale, periphery, generator)


def _stack_weights(parts: Sequence[CrossbarWeights]) -> CrossbarWeights:
    first, weight = parts[0], _stack(parts, "weight")
    if first.integers is not None:
        whole = [part.integers for part in parts]
        integers = {name: _stack(whole, name) for name in IntegerWeights._fields}
        return CrossbarWeights(weight, first.in_features, integers=IntegerWeights(**integers))
    magnitude = _stack(parts, "magnitude")
    return CrossbarWeights(
        weight,
        first.in_features,
        magnitude,
        _stack(parts, "positioned"),
        magnitude if first.squares is first.magnitude else _stack(parts, "squares"),
        _stack_weights([part.negative for part in parts if part.negative is not None])
        if first.negative is not None
        else None,
    )


def _stack(parts: Sequence[Any], name: str) -> Any:  # noqa: ANN401 - None where none is needed
    """Return the tensors of a name on a leading axis, without a copy if there is one alone."""
    values = [getattr(part, name) for part in parts]
    if values[0] is None:
        return None
    return values[0].unsqueeze(0) if len(values) == 1 else torch.stack(values)

"""Error of the product of each matrix on the inputs that it really receives."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aimc_lightning.functional.product import Product
from aimc_lightning.nn.base import analog_arrays, analog_layers, matrix_name
from aimc_lightning.tiles.array import TileArray
from aimc_lightning.tiles.tile import AnalogTile


@dataclass
class ProductStatistics:
    """Sums over products of one matrix; the rates below are NaN before the first product.

    Attributes:
        signal: Squares of the ideal outputs, with the trained weights and no clipping.
        error: Squares of analog minus ideal outputs.
        inputs: Number of inputs; one that several crossbars share counts once.
        input_squares: Squares of the inputs over their range, clipped.
        clipped_inputs: Inputs beyond the range.
        outputs: Number of outputs of tiles; 0 without an output bound.
        output_squares: Squares of the converters' outputs over their bound.
        clipped_outputs: Outputs at the bound.
    """

    signal: float = 0.0
    error: float = 0.0
    inputs: int = 0
    input_squares: float = 0.0
    clipped_inputs: float = 0.0
    outputs: int = 0
    output_squares: float = 0.0
    clipped_outputs: float = 0.0

    @property
    def mvm_error(self) -> float:
        """Root of error over signal."""
        return math.sqrt(_ratio(self.error, self.signal))

    @property
    def signal_to_error_db(self) -> float:
        """Signal over error in decibel; infinite without error."""
        ratio = _ratio(self.error, self.signal)
        return math.inf if ratio == 0 else -10 * math.log10(ratio)

    @property
    def dac_use(self) -> float:
        """Root mean square of the converters' inputs over their range."""
        return math.sqrt(_ratio(self.input_squares, self.inputs))

    @property
    def adc_use(self) -> float:
        """Root mean square of the converters' outputs over their bound."""
        return math.sqrt(_ratio(self.output_squares, self.outputs))

    @property
    def clipped_input_share(self) -> float:
        """Share of inputs beyond the range."""
        return _ratio(self.clipped_inputs, self.inputs)

    @property
    def clipped_output_share(self) -> float:
        """Share of outputs at the bound."""
        return _ratio(self.clipped_outputs, self.outputs)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


@contextmanager
def watched_products(model: nn.Module) -> Iterator[dict[str, ProductStatistics]]:
    """Repeat every product of a model on its tiles and ideally, and sum up the difference.

    The repetition draws from the noise of the chip, so outputs differ from those of a pass that is
    not watched. Ranges that differ from vector to vector have no share of clipped inputs and no
    use of converters.

    Args:
        model: Model with analog layers, in evaluation mode.

    Yields:
        Sums by name of the matrix: the layer's, followed by that of the matrix if it has several.
    """
    found: dict[str, ProductStatistics] = {}
    arrays = []
    for name, layer in analog_layers(model).items():
        matrices = analog_arrays(layer)
        for key, (array, _) in matrices.items():
            full = matrix_name(name, key, matrices)
            found[full] = ProductStatistics()
            array.observer = _Observer(layer, key, array, found[full])
            arrays.append(array)
    try:
        yield found
    finally:
        for array in arrays:
            array.observer = None


class _Observer:
    """Called with the inputs of every product of one array."""

    def __init__(
        self, layer: nn.Module, key: str, array: TileArray, statistics: ProductStatistics
    ) -> None:
        self._layer, self._key, self._array, self._sums = layer, key, array, statistics

    @torch.no_grad()
    def __call__(self, x: Tensor, product: Product) -> None:
        array, sums = self._array, self._sums
        _, weight = analog_arrays(self._layer)[self._key]
        ideal = product.forward(x.float(), array.effective_weight(weight).float())
        total = torch.zeros_like(ideal)
        xs, weights = array.input_parts(x, product), array.weight_parts(weight)
        tiles: Any = array.tiles
        for tile, part, part_weight in zip(tiles, xs, weights, strict=True):
            prepared = tile.prepare(part_weight)
            y = tile(part, part_weight, product, prepared).float()
            total += y
            if not array.config.input_range.per_vector:
                part, constant = tile.centred(part.float(), part_weight, product)
                y = y if constant is None else y - constant
                part = tile.on_rows(part, product)
                self._note_converters(tile, part, y, product, prepared.mapping_scale)
        sums.signal += float(ideal.double().square().sum())
        sums.error += float((total - ideal).double().square().sum())

    def _note_converters(
        self, tile: AnalogTile, x: Tensor, y: Tensor, product: Product, scale: Tensor
    ) -> None:
        sums = self._sums
        width = tile.input_range.abs()
        relative = x / width
        sums.inputs += x.numel()
        sums.clipped_inputs += float((relative.abs() > 1).sum())
        sums.input_squares += float(relative.clamp(-1, 1).double().square().sum())
        bound = tile.periphery.out_bound
        if bound is None:
            return
        factor = (tile.out_scale * scale).expand(sum(tile.out_sizes)) * width * bound
        # A scale of 0 would leave nothing to tell apart.
        share = (y / product.per_output(factor)).nan_to_num(0.0)
        sums.outputs += share.numel()
        sums.output_squares += float(share.double().square().sum())
        sums.clipped_outputs += float((share.abs() > 1 - 1e-6).sum())

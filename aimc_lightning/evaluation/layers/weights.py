"""Distribution of the normalised weights of each layer, which are what conductances hold."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from aimc_lightning.nn.base import analog_arrays, analog_layers, matrix_name
from aimc_lightning.tile_config import MappingConfig
from aimc_lightning.tiles.mapping import mapping_scale

BINS = 80


@dataclass(frozen=True)
class LayerWeights:
    """Normalised weights of one matrix, -1 to 1; times ``g_max_us`` they are conductances.

    Attributes:
        name: Name of the layer, followed by that of the matrix if there are several.
        counts: Weights in each of ``BINS`` equal intervals of the magnitude from 0 to 1.
        kurtosis: Excess kurtosis, 0 for a Gaussian; smaller is more compact.
        mean_magnitude: Mean magnitude.
        g_max_us: Largest conductance of a device, microsiemens.
    """

    name: str
    counts: np.ndarray
    kurtosis: float
    mean_magnitude: float
    g_max_us: float


def layer_weights(model: nn.Module) -> list[LayerWeights]:
    """Return the distribution of each matrix on tiles, as it is normalised for programming.

    Args:
        model: Model with analog layers.

    Returns:
        One entry per matrix, in the order of the model.
    """
    found = []
    for name, layer in analog_layers(model).items():
        arrays = analog_arrays(layer)
        for key, (array, weight) in arrays.items():
            parts = [
                _normalized(part, array.config.mapping, array.out_sizes)
                for part in array.weight_parts(weight.detach())
            ]
            values = torch.cat(parts)
            full = matrix_name(name, key, arrays)
            found.append(_described(full, values, array.config.chip.device.g_max_us))
    return found


def _normalized(weight: Tensor, mapping: MappingConfig, out_sizes: list[int]) -> Tensor:
    wide = weight.double()
    scale = mapping_scale(wide, mapping, out_sizes)
    return (wide.flatten(1) / scale[:, None]).flatten()


def _described(name: str, values: Tensor, g_max_us: float) -> LayerWeights:
    counts = torch.histc(values.abs(), BINS, 0.0, 1.0).numpy()
    centred = values - values.mean()
    variance = float(centred.square().mean())
    kurtosis = float(centred.pow(4).mean()) / variance**2 - 3.0 if variance > 0 else float("nan")
    return LayerWeights(name, counts, kurtosis, float(values.abs().mean()), g_max_us)

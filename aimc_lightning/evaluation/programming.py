"""Target conductances optimised for a device: what is programmed, so that what is read fits best.

A device that loses more at small conductances than at large ones (PCM drifts faster there) reads
small weights too small even after drift compensation. The optimiser shifts the targets, on average
over the times of use, against that.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import optimize  # type: ignore[import-untyped]
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.devices.converters import ShapedPair, SinglePair
from aimc_lightning.nn.base import analog_arrays, analog_layers
from aimc_lightning.tiles.array import TileArray
from aimc_lightning.tiles.mapping import mapping_scale

#: 1 s, 1 h, 1 day and 1 year after programming.
TIMES_S = (1.0, 3600.0, 86400.0, 31536000.0)

_KNOTS = 8
_BINS = 100
_LEVELS = 65
_SAMPLES = 4096


class _Statistics(NamedTuple):
    """What a pair makes of a target, ``(times, levels)`` each, in normalised weights.

    The first row is right after programming. ``readout`` is what drift compensation reads, and
    ``ideal_readout`` what it would of exact weights, ``(levels,)``.
    """

    mean: np.ndarray
    variance: np.ndarray
    readout: np.ndarray
    ideal_readout: np.ndarray


def optimized_programming(
    module: nn.Module, times_s: tuple[float, ...] = TIMES_S
) -> dict[TileArray, TileConfig]:
    r"""Return settings with target conductances optimised for the weights of each matrix.

    For each matrix a curve :math:`c` of eight knots, the target over :math:`g_\max` as a function
    of the relative magnitude :math:`u` of a weight, minimises the expected squared error of the
    weights that are read,

    .. math:: \sum_t \sum_u p(u) \big[ (\alpha_t m_t(c(u)) - u)^2 + \alpha_t^2 v_t(c(u)) \big]

    with the histogram :math:`p` of the matrix, mean and variance :math:`m_t, v_t` of what a pair
    holds at time :math:`t` (from 4096 draws each at 65 targets: programming noise, drift, 1/f
    noise, faults), and the factor :math:`\alpha_t` of drift compensation, whose one-hot read-out
    sees output noise and ADC. For independent inputs this is the expected squared error of the
    product, without its periphery.

    Args:
        module: Model with analog layers; it stays as it is.
        times_s: Times of use, seconds since programming, of equal weight; those for which a device
            has no data are left out.

    Returns:
        From the arrays of tiles to the settings to give them.

    Raises:
        ValueError: If a matrix is not programmed to one pair of devices from 0, with chain 'pair'.

    Source:
        Idea and objective of weight programming optimisation: Mackin et al., Nature Communications
        13, 3765 (2022), and IBM/aihwkit, ``src/aihwkit/inference/converter/wpo.py``, which
        optimises tables of several pairs by differential evolution. Here one pair and one curve, by
        ``scipy.optimize.minimize`` (L-BFGS-B) from the straight line, which is never left for a
        worse one.
    """
    known: dict[TileConfig, _Statistics] = {}
    configs = {}
    for layer in analog_layers(module).values():
        for array, weight in analog_arrays(layer).values():
            chip = array.config.chip
            if chip.chain != "pair" or chip.converter not in (SinglePair(), ShapedPair()):
                raise ValueError(
                    "Programming is optimised for one pair of devices per weight "
                    "(chip.converter SinglePair() and chip.chain 'pair'), not for "
                    f"{chip.converter} with chain {chip.chain!r}; leave it out."
                )
            if array.config not in known:
                known[array.config] = _pair_statistics(array.config, times_s)
            magnitudes = _magnitudes(array, weight.detach())
            curve = _optimized_curve(known[array.config], magnitudes, chip.compensation)
            configs[array] = array.config.with_values({"chip.converter": ShapedPair(curve)})
    return configs


def _optimized_curve(
    pair: _Statistics, magnitudes: np.ndarray, compensation: str
) -> tuple[float, ...]:
    """Return the curve of smallest expected error, for a histogram of relative magnitudes."""
    levels = np.linspace(0, 1, _LEVELS)
    knots = np.linspace(0, 1, _KNOTS + 1)
    centres = (np.arange(_BINS) + 0.5) / _BINS

    def at(targets: np.ndarray, table: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(targets, levels, row) for row in table])

    def error(values: np.ndarray) -> float:
        targets = np.interp(centres, knots, [0.0, *values])
        factor = np.ones((len(pair.mean), 1))
        if compensation != "none":
            sizes = at(targets, pair.readout) @ magnitudes
            exact = np.interp(centres, levels, pair.ideal_readout) @ magnitudes
            factor = ((exact if compensation == "exact" else sizes[0]) / sizes)[:, None]
        bias = factor * at(targets, pair.mean) - centres
        squares = bias**2 + factor**2 * at(targets, pair.variance)
        return float((squares[1:] @ magnitudes).mean())

    line = knots[1:]
    found = optimize.minimize(error, line, method="L-BFGS-B", bounds=[(0, 1)] * _KNOTS,
                              options={"eps": 1e-3})  # fmt: skip
    best = found.x if error(found.x) < error(line) else line
    return (0.0, *(float(value) for value in best))


@torch.no_grad()
def _pair_statistics(config: TileConfig, times_s: tuple[float, ...]) -> _Statistics:
    """Return what pairs hold whose one device has a target and the other none."""
    device, generator = config.chip.device, torch.Generator().manual_seed(0)
    levels = torch.linspace(0, 1, _LEVELS, dtype=torch.float64)[:, None].expand(-1, _SAMPLES)
    target_us = torch.stack([levels, torch.zeros_like(levels)]) * device.g_max_us
    programmed_us, exponent = device.program_chip(target_us, generator=generator)
    held = [programmed_us]
    for time_s in times_s:
        try:
            device.check_time(time_s)
        except ValueError:
            continue  # measured at few times only, as ReRAM of Wan et al. 2022
        held.append(device.read(programmed_us, exponent, target_us, time_s, generator=generator))
    if len(held) == 1:
        raise ValueError(
            f"{device.name} has no data for any of the times {times_s}; choose others."
        )
    weights = [(plus - minus) / device.g_max_us for plus, minus in held]

    def readout(weight: Tensor) -> np.ndarray:
        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        output = (weight + config.noise.output_std * noise).abs()
        if config.adc.steps is not None and config.adc.bound is not None:
            step = 2 * config.adc.bound / config.adc.steps
            output = (output / step).round() * step
        return output.mean(1).clamp(min=1e-4).numpy()

    mean = np.stack([weight.mean(1).numpy() for weight in weights])
    variance = np.stack([weight.var(1).numpy() for weight in weights])
    return _Statistics(mean, variance, np.stack([readout(w) for w in weights]), readout(levels))


def _magnitudes(array: TileArray, weight: Tensor) -> np.ndarray:
    """Return the histogram of the relative magnitudes as they are programmed."""
    parts = []
    for part in array.weight_parts(weight):
        scale = mapping_scale(part, array.config.mapping, array.out_sizes)
        normalized = (part.flatten(1) / scale[:, None]).abs()
        parts += [p / p.max().clamp(min=1e-12) for p in normalized.split(array.out_sizes)]
    values = torch.cat([part.flatten() for part in parts]).double()
    counts = torch.histc(values, _BINS, 0.0, 1.0).numpy()
    return counts / counts.sum()

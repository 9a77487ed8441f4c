"""Float64 NumPy formulas written from the specification, without looking at the library.

The letters and numbers in the docstrings are sections of the hardware specification.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.float64]

T_0_S = 20.0
T_READ_S = 250e-9


def single_pair(w: Array, g_max: float, g_min: float = 0.0) -> tuple[Array, Array, float]:
    """b.1: conductances of one pair and the scale."""
    k = (g_max - g_min) / np.abs(w).max()
    return np.clip(k * w, 0, g_max) + g_min, np.clip(-k * w, 0, g_max) + g_min, k


def n_pairs(
    w: Array, factors: list[float], g_max: float, g_min: float
) -> tuple[list[Array], float]:
    """f: several pairs; the lowest fills first."""
    k = sum(factors) * (g_max - g_min) / np.abs(w).max()
    conductances, lower = [], 0.0
    for factor in factors:
        carried = np.clip((np.abs(k * w) - lower) / factor + g_min, g_min, g_max)
        conductances += [np.where(w > 0, carried, g_min), np.where(w < 0, carried, g_min)]
        lower += factor * (g_max - g_min)
    return conductances, k


def programming_std(g_target: Array, g_max: float, scale: float = 1.0) -> Array:
    """b.2: standard deviation of programming PCM."""
    r = g_target / g_max
    return scale * (g_max / 25) * (0.26348 + 1.9650 * r - 1.1731 * r**2)


def drift_mean_and_std(g_target: Array, g_max: float) -> tuple[Array, Array]:
    """b.3: mean and standard deviation of the exponent of PCM before folding."""
    log = np.log(np.maximum(g_target / g_max, 1e-7))
    mean = np.clip(-0.0155 * log + 0.0244, 0.049, 0.1)
    return mean, np.clip(-0.0125 * log - 0.0059, 0.008, 0.045)


def drifted(g_prog: Array, nu: Array, t_inference: float, t_0: float = T_0_S) -> Array:
    """b.3: conductance after drift."""
    return g_prog * ((t_inference + t_0) / t_0) ** (-nu)


def growth(t: float, t_read: float = T_READ_S) -> float:
    """b.4: growth of 1/f noise with the time since programming started."""
    return float(np.sqrt(np.log((t + t_read) / (2 * t_read))))


def read_std(g_drift: Array, g_prog: Array, g_max: float, t_inference: float) -> Array:
    """b.4: standard deviation of the accumulated 1/f noise of PCM."""
    q = np.minimum(0.0088 / np.maximum((g_prog / g_max) ** 0.65, 1e-3), 0.2)
    return g_drift * q * growth(t_inference + T_0_S)


def hermes_drift(g_target: Array, g_max: float) -> Array:
    """f: mean exponent of the HERMES chip."""
    r = np.maximum(g_target / g_max, 1e-7)
    low = np.clip(-0.0387 * np.log(r) - 0.0182, 0.072, 0.13)
    return np.where(r < 0.0945, low, -0.0436 * r**2 - 0.0126 * r + 0.0736)


def hermes_programming_std(g_target: Array, devices: int) -> Array:
    """f: standard deviation of programming the HERMES chip."""
    g_max, c = {
        2: (20.7, [0.16603222, 4.71806468, -8.48101252, 4.68961419]),
        1: (10.35, [0.15781817, 2.32443916, -2.16310839, 0.68841818]),
    }[devices]
    r = g_target / g_max
    return c[0] + c[1] * r + c[2] * r**2 + c[3] * r**3


def wan2022_std(g_target: Array, g_max: float, t_inference: float) -> Array:
    """f: spread of ReRAM around the target at a time with data."""
    c = {
        1.0: [0.348, 16.030, -43.853, 45.393, -16.815],
        86400.0: [0.701, 22.086, -50.773, 47.095, -16.458],
        172800.0: [0.782, 20.274, -43.507, 37.062, -11.934],
    }[t_inference]
    r = g_target / g_max
    return sum(coefficient * r**power for power, coefficient in enumerate(c))


def clamped_normal(mean: Array, std: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of ``max(mean + std xi, 0)``."""
    a = mean / std
    first = mean * norm.cdf(a) + std * norm.pdf(a)
    second = (mean**2 + std**2) * norm.cdf(a) + mean * std * norm.pdf(a)
    return first, np.sqrt(second - first**2)


def folded_normal(mean: Array, std: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of ``|mean + std xi|``."""
    a = mean / std
    first = std * 2 * norm.pdf(a) + mean * (1 - 2 * norm.cdf(-a))
    return first, np.sqrt(mean**2 + std**2 - first**2)

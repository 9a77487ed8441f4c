"""Drift exponents, conductance some time after programming, accumulated 1/f read noise."""

import math

import torch
from torch import Tensor

from aimc_lightning.functional.random import standard_normal_like


def require_time(t_inference_s: float) -> None:
    """Raise unless a time since programming is a finite number of seconds, not negative.

    Args:
        t_inference_s: Seconds since the end of programming.

    Raises:
        ValueError: If the time is negative, infinite or not a number.

    Example:
        >>> require_time(3600.0)
    """
    if not (math.isfinite(t_inference_s) and t_inference_s >= 0.0):
        raise ValueError(
            f"t_inference_s is {t_inference_s}, but it counts seconds since the end of programming "
            "and must be finite and not negative."
        )


def draw_drift_exponents(
    mean: Tensor, std: Tensor, scale: float = 1.0, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""Draw one drift exponent per device.

    .. math:: \nu = |\mu + \sigma \xi| \cdot \text{scale}, \qquad \xi \sim \mathcal N(0, 1)

    Args:
        mean: ``mu`` per device, any shape, dimensionless.
        std: ``sigma`` per device, same shape, dimensionless.
        scale: Factor on the drawn exponents.
        generator: Source of the draw, on the device of ``mean``.

    Returns:
        Exponents, same shape, not negative.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/noise/pcm.py``.

    Example:
        >>> import torch
        >>> draw_drift_exponents(torch.tensor([0.05]), torch.tensor([0.0]))
        tensor([0.0500])
    """
    noise = standard_normal_like(mean, generator=generator)
    return (mean + std * noise).abs() * scale


def conductance_after_drift(
    g_prog_us: Tensor, drift_exponent: Tensor, t_inference_s: float, t_0_s: float = 20.0
) -> Tensor:
    r"""Return the conductance a given time after programming.

    .. math:: g(t) = g_\text{prog} \, (t / t_0)^{-\nu}, \qquad t = t_\text{inference} + t_0

    Args:
        g_prog_us: Programmed conductance in microsiemens, any shape, not negative.
        drift_exponent: Exponent nu per device, same shape, dimensionless.
        t_inference_s: Seconds since the end of programming; 0 returns ``g_prog_us``.
        t_0_s: Seconds between programming and the first read.

    Returns:
        Conductance in microsiemens, same shape. Read noise is not included.

    Raises:
        ValueError: If ``t_inference_s`` is negative or not finite.

    Source:
        Power law and default ``t_0_s`` as in IBM/aihwkit,
        ``src/aihwkit/inference/noise/pcm.py``.

    Example:
        >>> import torch
        >>> g = torch.tensor([10.0])
        >>> conductance_after_drift(g, torch.tensor([0.05]), t_inference_s=0.0)
        tensor([10.])
        >>> conductance_after_drift(g, torch.tensor([0.05]), t_inference_s=180.0)
        tensor([8.9125])
    """
    require_time(t_inference_s)
    if t_inference_s == 0.0:
        return g_prog_us
    return g_prog_us * torch.exp(drift_exponent * -math.log1p(t_inference_s / t_0_s))


def accumulated_noise_growth(t_s: float, t_read_s: float) -> float:
    r"""Return how far 1/f noise has grown since programming, relative to its strength Q.

    .. math:: \sqrt{\ln \frac{t + t_\text{read}}{2 \, t_\text{read}}}

    Args:
        t_s: Seconds since programming started, that is ``t_inference_s + t_0_s``.
        t_read_s: Seconds that one read takes.

    Returns:
        Dimensionless factor, 0 when ``t_s`` is not above ``t_read_s``.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/noise/pcm.py``.

    Example:
        >>> round(accumulated_noise_growth(1.0 + 20.0, 250e-9), 3)
        4.19
    """
    return math.sqrt(max(math.log((t_s + t_read_s) / (2.0 * t_read_s)), 0.0))


def power_law_noise_strength(
    g_relative: Tensor,
    coefficient: float = 0.0088,
    exponent: float = 0.65,
    floor: float = 1e-3,
    maximum: float = 0.2,
) -> Tensor:
    r"""Return the strength Q of 1/f noise, relative to the conductance.

    .. math:: Q = \min\big(c / \max(r^p, 10^{-3}),\; 0.2\big), \qquad r = g / g_\max

    Args:
        g_relative: ``r``, conductance before drift over the largest one, any shape.
        coefficient: ``c``, dimensionless.
        exponent: ``p``, dimensionless.
        floor: Smallest value of ``r^p``.
        maximum: Largest strength.

    Returns:
        Strength, same shape, dimensionless.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/noise/pcm.py``.

    Example:
        >>> import torch
        >>> power_law_noise_strength(torch.tensor([0.0, 1.0]))
        tensor([0.2000, 0.0088])
    """
    return (coefficient / (g_relative.abs() ** exponent).clamp(min=floor)).clamp(max=maximum)

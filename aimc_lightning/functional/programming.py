"""Programming noise: how far a programmed conductance lies from its target."""

from collections.abc import Sequence

import torch
from torch import Tensor

from aimc_lightning.functional.curves import polynomial
from aimc_lightning.functional.random import standard_normal_like


def programming_noise_std(
    g_target_us: Tensor,
    coefficients_us: Sequence[float],
    g_max_us: float,
    g_max_reference_us: float | None = None,
) -> Tensor:
    r"""Return the standard deviation of programming as a polynomial of the target.

    .. math:: \sigma = \frac{g_\max}{g_\text{ref}} \sum_i c_i \, (g_T / g_\max)^i

    Args:
        g_target_us: Target conductance in microsiemens, any shape.
        coefficients_us: ``c_0, c_1, ...`` in microsiemens.
        g_max_us: Largest conductance of the device in microsiemens.
        g_max_reference_us: Largest conductance of the devices the polynomial was fitted to, in
            microsiemens; ``None`` means it was fitted to this device (no rescaling).

    Returns:
        Standard deviation in microsiemens, same shape.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/noise/pcm.py``.

    Example:
        >>> import torch
        >>> programming_noise_std(torch.tensor([0.0, 25.0]), (0.26348, 1.965, -1.1731), 25.0, 25.0)
        tensor([0.2635, 1.0554])
    """
    std_us = polynomial(g_target_us / g_max_us, coefficients_us)
    if g_max_reference_us is None or g_max_reference_us == g_max_us:
        return std_us
    return std_us * (g_max_us / g_max_reference_us)


def add_conductance_noise(
    g_us: Tensor,
    std_us: Tensor | float,
    *,
    g_min_us: float | None = 0.0,
    g_max_us: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return conductances with Gaussian noise, kept within limits by clipping.

    .. math:: g' = \operatorname{clip}(g + \sigma \xi,\; g_\min,\; g_\max), \qquad
        \xi \sim \mathcal N(0, 1)

    Args:
        g_us: Conductance in microsiemens, any shape.
        std_us: Standard deviation in microsiemens, same shape or a number.
        g_min_us: Lower limit in microsiemens; ``None`` for no limit.
        g_max_us: Upper limit in microsiemens; ``None`` (as for PCM) for no limit.
        generator: Source of the draw, on the device of ``g_us``.

    Returns:
        Noisy conductance in microsiemens, same shape.

    Source:
        Limits as in IBM/aihwkit, ``src/aihwkit/inference/noise/pcm.py``: never negative, no upper
        limit.

    Example:
        >>> import torch
        >>> add_conductance_noise(torch.tensor([5.0]), 0.0)
        tensor([5.])
    """
    noise = standard_normal_like(g_us, generator=generator)
    noisy_us = g_us + std_us * noise
    if g_min_us is None and g_max_us is None:
        return noisy_us
    return noisy_us.clamp(min=g_min_us, max=g_max_us)

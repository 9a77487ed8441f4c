"""Devices that cannot be programmed: stuck at zero, at the largest or at a random conductance."""

import torch
from torch import Tensor


def draw_stuck_devices(
    g_us: Tensor,
    g_max_us: float,
    p_zero: float = 0.0,
    p_g_max: float = 0.0,
    p_random: float = 0.0,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Replace the conductance of randomly chosen devices by the value they are stuck at.

    Each device is stuck at 0 with probability ``p_zero``, at ``g_max_us`` with ``p_g_max``, at a
    value drawn uniformly from ``[0, g_max_us]`` with ``p_random``, and healthy otherwise.

    Args:
        g_us: Conductance of healthy devices in microsiemens, any shape.
        g_max_us: Largest conductance in microsiemens.
        p_zero: Probability of being stuck at zero.
        p_g_max: Probability of being stuck at the largest conductance.
        p_random: Probability of being stuck at a random conductance.
        generator: Source of the draw, on the device of ``g_us``.

    Returns:
        Conductance in microsiemens, same shape, and a boolean mask of the stuck devices.

    Source:
        IBM/aihwkit, ``src/rpucuda/cuda/weight_modifier_cuda.cu``, PCM noise modifier.

    Example:
        >>> import torch
        >>> draw_stuck_devices(torch.tensor([5.0]), 25.0, p_g_max=1.0)
        (tensor([25.]), tensor([True]))
    """
    # Drawn in float32 whatever the dtype: a bfloat16 uniform number cannot resolve 0.1 %.
    lot = torch.rand(g_us.shape, generator=generator, device=g_us.device, dtype=torch.float32)
    faulty_us = g_us.masked_fill(lot < p_zero, 0.0)
    faulty_us = faulty_us.masked_fill((lot >= p_zero) & (lot < p_zero + p_g_max), g_max_us)
    p_any = p_zero + p_g_max + p_random
    if p_random > 0.0:
        value = torch.empty_like(g_us).uniform_(0.0, g_max_us, generator=generator)
        faulty_us = torch.where((lot >= p_zero + p_g_max) & (lot < p_any), value, faulty_us)
    return faulty_us, lot < p_any

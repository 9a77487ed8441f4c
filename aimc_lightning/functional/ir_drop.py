"""Static approximation of the voltage drop along the wires of a crossbar."""

import math

import torch
from torch import Tensor


def position_weights(in_features: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    r"""Return how strongly the IR drop acts on each input, ``1 - (1 - j / n)**2``.

    Args:
        in_features: Number n of inputs of the tile as mapped.
        dtype: Type of the result.
        device: Device of the result.

    Returns:
        Weights, shape ``(in_features,)``, 0 for the first input and about 1 for the last.

    Source:
        IBM/aihwkit, ``rpucuda/rpu_forward_backward_pass.cpp``, ``applyIrDrop``.

    Example:
        >>> import torch
        >>> position_weights(2, dtype=torch.float32, device=torch.device("cpu"))
        tensor([0.0000, 0.7500])
    """
    j = torch.arange(in_features, dtype=dtype, device=device)
    return 1 - (1 - j / in_features) ** 2


def subtract_ir_drop_(
    z: Tensor, current: Tensor, weighted: Tensor, in_features: float, scale: float, g_ratio: float
) -> Tensor:
    r"""Subtract the IR drop from the ideal product, in place.

    .. math::
        a_i = \frac{n}{R} \sum_j |w_{ij}| |x_j|, \qquad c_i = 0.05 a_i^3 - 0.2 a_i^2 + 0.5 a_i

        z_i \leftarrow z_i - \lambda\, c_i \sum_j w_{ij} x_j \left(1 - (1 - j/n)^2\right)

    Args:
        z: Ideal product, any shape; overwritten.
        current: Total current sum of ``|w| |x|``, same shape; overwritten.
        weighted: Product with position-weighted weights, same shape.
        in_features: Number n of inputs of this tile as mapped.
        scale: Scale lambda of the effect, dimensionless.
        g_ratio: R, conductance of one wire segment over that of a device, dimensionless.

    Returns:
        ``z``.

    Source:
        IBM/aihwkit, ``rpucuda/rpu_forward_backward_pass.cpp``, ``applyIrDrop``: a fast
        input-dependent approximation of a one-sided column.

    Example:
        >>> import torch
        >>> z = torch.ones(1)
        >>> subtract_ir_drop_(z, torch.zeros(1), torch.ones(1), 512, 1.0, 571428.57)
        tensor([1.])
    """
    if not math.isfinite(g_ratio):
        return z
    a = current.mul_(in_features / g_ratio)
    coefficient = a.mul(0.05).sub_(0.2).mul_(a).add_(0.5).mul_(a)
    return z.addcmul_(coefficient, weighted, value=-scale)

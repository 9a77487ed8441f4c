"""Fitted curves that several device models share: polynomial, clipped logarithm, table.

Only the shapes are here; the fitted numbers belong to ``aimc_lightning.devices``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    r"""Return the polynomial with ascending coefficients.

    .. math:: p(x) = c_0 + c_1 x + c_2 x^2 + \dots

    Args:
        x: Points, any shape.
        coefficients: ``c_0, c_1, ...``, at least one; the unit is the unit of the result.

    Returns:
        Values, same shape as ``x``.

    Raises:
        ValueError: If there is no coefficient.

    Example:
        >>> import torch
        >>> polynomial(torch.tensor([0.0, 2.0]), (1.0, 0.0, 3.0))
        tensor([ 1., 13.])
    """
    if not coefficients:
        raise ValueError("coefficients is empty, but a polynomial needs at least c_0; give (0.0,).")
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


def clipped_logarithm(
    x: Tensor, slope: float, offset: float, minimum: float, maximum: float, floor: float = 1e-7
) -> Tensor:
    r"""Return a straight line over the logarithm, cut off at both ends.

    .. math:: f(x) = \operatorname{clip}(a \ln \max(x, x_\text{floor}) + b,\; f_\min,\; f_\max)

    Args:
        x: Points, any shape, usually ``g / g_max``.
        slope: ``a``, dimensionless.
        offset: ``b``, dimensionless.
        minimum: Lower end ``f_min``.
        maximum: Upper end ``f_max``, not below ``minimum``.
        floor: Smallest argument of the logarithm, so that 0 is allowed.

    Returns:
        Values, same shape as ``x``.

    Source:
        Shape of the drift fits in IBM/aihwkit, ``src/aihwkit/inference/noise/pcm.py`` and
        ``hermes.py``; floor 1e-7 as there.

    Example:
        >>> import torch
        >>> clipped_logarithm(torch.tensor([0.0, 1.0]), -0.0155, 0.0244, 0.049, 0.1)
        tensor([0.1000, 0.0490])
    """
    return (x.clamp(min=floor).log() * slope + offset).clamp(min=minimum, max=maximum)


def interpolate_table(x: Tensor, points: Tensor, values: Tensor) -> Tensor:
    """Return the piecewise linear function through a table, constant beyond its ends.

    Args:
        x: Where to evaluate, any shape.
        points: Strictly increasing table positions, shape ``(n,)`` with ``n >= 2``.
        values: Table values, shape ``(n,)``.

    Returns:
        Interpolated values, same shape as ``x``.

    Raises:
        ValueError: If the table is shorter than two or the shapes differ.

    Example:
        >>> import torch
        >>> interpolate_table(torch.tensor([-1.0, 0.5]), torch.tensor([0.0, 1.0]),
        ...                   torch.tensor([10.0, 20.0]))
        tensor([10., 15.])
    """
    if points.ndim != 1 or points.shape != values.shape or points.numel() < 2:
        raise ValueError(
            f"points has shape {tuple(points.shape)} and values {tuple(values.shape)}, but a table "
            "needs two 1-d tensors of the same length, at least 2."
        )
    right = torch.searchsorted(points, x.contiguous()).clamp(min=1, max=points.numel() - 1)
    start, end = points[right - 1], points[right]
    fraction = ((x - start) / (end - start)).clamp(min=0.0, max=1.0)
    return values[right - 1] + fraction * (values[right] - values[right - 1])

"""Input factors chosen per vector: noise management and bound management."""

from typing import Literal

import torch
from torch import Tensor

NoiseManagement = Literal["none", "abs_max", "max", "constant", "abs_max_np_sum"]
BoundManagement = Literal["none", "iterative", "worst_case"]

#: Bound management stops once the input was divided by this.
#: Source: IBM/aihwkit, ``src/aihwkit/simulator/parameters/io.py`` (``max_bm_factor``).
MAX_BOUND_FACTOR = 1000.0
_NP_SUM_SHARE = 0.6


def noise_management_factor(
    x: Tensor,
    kind: NoiseManagement,
    *,
    threshold: float = 0.0,
    out_bound: float | None = None,
    dac_steps: int | None = None,
) -> Tensor:
    r"""Return the factor by which each input vector is divided before the DAC.

    * ``abs_max``: largest magnitude, capped at ``threshold`` when that is positive;
      ``max``: largest value; ``constant``: ``threshold``
    * ``abs_max_np_sum``: the larger of the largest magnitude and
      ``max(sum of positive x, sum of negative -x) * 0.6 / out_bound``, the latter limited so that
      the largest input keeps one DAC step

    Args:
        x: Input vectors, shape ``(..., in_features)``.
        kind: Rule.
        threshold: Cap or constant, in units of ``x``.
        out_bound: Output bound, dimensionless; needed by ``abs_max_np_sum``.
        dac_steps: Number of DAC steps, or ``None`` for no quantisation.

    Returns:
        Factors, shape ``(..., 1)``; 1 where the rule gives zero or less.

    Source:
        IBM/aihwkit, ``rpucuda/rpu_forward_backward_pass.cpp``, ``computeNoiseManagement``.

    Example:
        >>> import torch
        >>> noise_management_factor(torch.tensor([[1.0, -4.0]]), "abs_max")
        tensor([[4.]])
    """
    if kind == "max":
        factor = x.amax(-1, keepdim=True)
    elif kind == "constant":
        factor = torch.full_like(x[..., :1], threshold)
    else:
        factor = x.abs().amax(-1, keepdim=True)
        if kind == "abs_max" and threshold > 0:
            factor = factor.clamp(max=threshold)
    if kind == "abs_max_np_sum" and out_bound is not None:
        needed = np_sum_factor(x, out_bound)
        if dac_steps is not None:
            needed = torch.minimum(needed, factor * (dac_steps / 2))
        factor = torch.maximum(factor, needed)
    return torch.where(factor > 0, factor, torch.ones_like(factor))


def np_sum_factor(x: Tensor, out_bound: float) -> Tensor:
    """Return the factor that keeps a column of full weights below the output bound.

    Args:
        x: Input vectors, shape ``(..., in_features)``.
        out_bound: Output bound, dimensionless.

    Returns:
        ``max(positive sum, negative sum) * 0.6 / out_bound``, shape ``(..., 1)``.

    Example:
        >>> import torch
        >>> np_sum_factor(torch.tensor([10.0, 10.0, -5.0]), out_bound=12.0)
        tensor([1.])
    """
    positive = x.clamp(min=0).sum(-1, keepdim=True)
    negative = -x.clamp(max=0).sum(-1, keepdim=True)
    return torch.maximum(positive, negative) * (_NP_SUM_SHARE / out_bound)


def next_bound_factor(
    factor: Tensor, output: Tensor, out_bound: float, limit: float
) -> tuple[Tensor, bool]:
    """Return the doubled factors of the vectors whose output still hits the bound.

    Args:
        factor: Present factor per vector, shape ``(..., 1)``.
        output: Outputs after the ADC, shape ``(..., out_features)``, dimensionless.
        out_bound: Output bound, dimensionless.
        limit: Factors beyond this are kept.

    Returns:
        New factors, and whether any was raised (this reads the device: bound management costs a
        synchronisation for each round).

    Source:
        IBM/aihwkit, ``rpucuda/rpu_forward_backward_pass.cpp``, ``forwardVector``.

    Example:
        >>> import torch
        >>> next_bound_factor(torch.ones(1), torch.tensor([12.0]), 12.0, 1000.0)
        (tensor([2.]), True)
    """
    hit = (output.abs() >= out_bound).any(-1, keepdim=True) & (2 * factor <= limit)
    return torch.where(hit, 2 * factor, factor), bool(hit.any())

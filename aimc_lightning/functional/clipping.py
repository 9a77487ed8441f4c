"""Bounds at which weights are clipped after an optimizer step, and remapping of the scales."""

import torch
from torch import Tensor


def gaussian_clip_bound(
    weight: Tensor, sigma: float = 2.5, fixed_value: float | None = None
) -> Tensor:
    r"""Return the clipping bound as a multiple of the spread of the weights.

    .. math:: v = \min(\text{sigma} \cdot \operatorname{std}(w),\; v_\text{fixed})

    Args:
        weight: Weights of one tile, any shape.
        sigma: Multiple of the unbiased standard deviation.
        fixed_value: Upper limit of the bound; ``None`` for none.

    Returns:
        Bound, a scalar, dimensionless; 0 where there is one weight or no spread beyond rounding.

    Source:
        IBM/aihwkit, ``src/rpucuda/weight_clipper.cpp``.

    Example:
        >>> import torch
        >>> gaussian_clip_bound(torch.tensor([-1.0, 1.0]), sigma=1.0)
        tensor(1.4142)
    """
    if weight.numel() < 2:
        return weight.new_zeros(())
    std = weight.std(correction=1)
    # Equal weights have a rounding-size spread; clipping to that would erase them.
    rounding = weight.abs().max() * (4 * torch.finfo(weight.dtype).eps)
    bound = torch.where(std > rounding, std, 0.0) * sigma
    return bound if fixed_value is None else bound.clamp(max=fixed_value)


def channel_max_clip_bound(weight: Tensor, fixed_value: float | None = None) -> Tensor:
    r"""Return the clipping bound as the average over outputs of the largest weight.

    .. math:: v = \min\big(\overline{\max_j |w_{ij}|},\; v_\text{fixed}\big)

    Args:
        weight: Weights of one tile, shape ``(out, in, ...)``.
        fixed_value: Upper limit of the bound; ``None`` for none.

    Returns:
        Bound, a scalar, dimensionless.

    Source:
        IBM/aihwkit, ``src/rpucuda/weight_clipper.cpp``.

    Example:
        >>> import torch
        >>> channel_max_clip_bound(torch.tensor([[0.5, -1.0], [0.0, 2.0]]))
        tensor(1.5000)
    """
    bound = weight.flatten(1).abs().amax(dim=1).mean()
    return bound if fixed_value is None else bound.clamp(max=fixed_value)


def clip_weights(weight: Tensor, bound: Tensor | float) -> Tensor:
    r"""Return the weights clipped to a symmetric bound.

    .. math:: w' = \operatorname{clip}(w, -v, v)

    Args:
        weight: Weights, any shape.
        bound: ``v``, a number or a tensor that broadcasts to ``weight``; where it is 0 (weights
            without spread) nothing is clipped, so that a constant tile is not erased.

    Returns:
        Clipped weights, same shape.

    Source:
        IBM/aihwkit, ``src/rpucuda/weight_clipper.cpp``.

    Example:
        >>> import torch
        >>> clip_weights(torch.tensor([-2.0, 0.5]), 1.0)
        tensor([-1.0000,  0.5000])
    """
    limit = torch.as_tensor(bound, dtype=weight.dtype, device=weight.device)
    limit = torch.where(limit > 0, limit, torch.inf)
    return weight.clamp(min=-limit, max=limit)


def remap_weights(
    weight: Tensor, scales: Tensor, *, columnwise: bool = True, w_max: float = 1.0
) -> tuple[Tensor, Tensor]:
    r"""Return weights that use the whole range again, and the scales that undo it.

    .. math:: m = \max |w| / w_\max, \qquad w' = w / m, \qquad s' = s \, m

    with the maximum over each output (``columnwise``) or over the tile; ``m = 1`` where all weights
    are zero. The product of scale and weight does not change.

    Args:
        weight: Normalised weights of one tile, shape ``(out, in, ...)``, dimensionless.
        scales: Scale per output, shape ``(out,)``, or one for the tile (a scalar or shape
            ``(1,)``; then only with ``columnwise=False``). Includes learned scales, if any.
        columnwise: One maximum per output instead of one for the tile.
        w_max: Largest weight after remapping.

    Returns:
        Remapped weights and new scales, shapes as given.

    Raises:
        ValueError: If one scale for the whole tile is to be remapped per output.

    Source:
        IBM/aihwkit, ``src/rpucuda/weight_remapper.cpp``, the symmetric
        layer-wise and channel-wise kinds without a bounded scale range.

    Example:
        >>> import torch
        >>> remap_weights(torch.tensor([[0.5, -0.25]]), torch.tensor([2.0]))
        (tensor([[ 1.0000, -0.5000]]), tensor([1.]))
    """
    outputs = weight.shape[0]
    if columnwise and scales.numel() != outputs:
        raise ValueError(
            f"scales has shape {tuple(scales.shape)}, but remapping per output needs one scale for "
            f"each of the {outputs} outputs; give columnwise=False or scales.expand({outputs})."
        )
    magnitude = weight.flatten(1).abs()
    largest = magnitude.amax(dim=1) if columnwise else magnitude.max()
    ratio = torch.where(largest > 0, largest / w_max, torch.ones_like(largest))
    shape = (outputs, *([1] * (weight.ndim - 1))) if columnwise else ()
    return weight / ratio.reshape(shape), scales * ratio

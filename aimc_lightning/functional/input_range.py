"""Input range of a tile: its initialisation from data and the rule by which it is learned."""

from collections.abc import Callable

import torch
from torch import Tensor

_CANDIDATES = 16  # ranges that are tried on each batch


def updated_input_range(
    input_range: Tensor, batches: Tensor, x: Tensor, std_alpha: float
) -> tuple[Tensor, Tensor]:
    r"""Return the input range after one more batch of initialisation.

    .. math:: c \leftarrow \frac{c\,i + \alpha\,\text{std}(x)}{i + 1}

    A batch without spread (or of one value) changes nothing.

    Args:
        input_range: Range c before the batch, scalar tensor, in units of ``x``.
        batches: Number i of batches seen so far, integer scalar tensor.
        x: Inputs of the tile, any shape.
        std_alpha: Factor alpha on the unbiased standard deviation of the whole batch.

    Returns:
        Range and number of batches after the batch, scalar tensors.

    Source:
        IBM/aihwkit, ``src/aihwkit/simulator/tiles/periphery.py``, ``apply_input_range``.

    Example:
        >>> import torch
        >>> c, i = updated_input_range(
        ...     torch.tensor(3.0), torch.tensor(0), torch.tensor([-1.0, 0.0, 1.0]), std_alpha=3.0)
        >>> c, i
        (tensor(3.), tensor(1))
    """
    if x.numel() < 2:
        return input_range, batches
    # At least float32: a running mean over 100 batches is beyond half precision.
    wide = torch.promote_types(input_range.dtype, torch.float32)
    spread = std_alpha * x.detach().to(wide).std()
    mean = ((input_range.to(wide) * batches + spread) / (batches + 1)).to(input_range.dtype)
    useful = spread > 0
    return torch.where(useful, mean, input_range), batches + useful.to(batches.dtype)


def searched_input_range(
    input_range: Tensor, batches: Tensor, x: Tensor, error: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    r"""Return the input range after one more batch of looking for the smallest error.

    .. math:: c \leftarrow \frac{c\,i + \arg\min_{c'} E(c')}{i + 1}

    A narrow range clips inputs and makes large outputs, which the ADC clips; a wide one uses few
    levels of the DAC and drowns the outputs in the noise of the ADC. Of the first batch 1 to 64
    times the root mean square of the inputs are tried, later half to twice the present range. A
    batch of zeros changes nothing.

    Args:
        input_range: Range c before the batch, scalar tensor, in units of ``x``.
        batches: Number i of batches seen so far, integer scalar tensor.
        x: Inputs of the tile, any shape.
        error: Error E of the product with each of some ranges, vector to vector.

    Returns:
        Range and number of batches after the batch, scalar tensors.

    Source:
        Choosing ranges after training by their effect behind the ADC: Lammie et al. 2024 (there by
        percentiles and the predicted saturation); the search is ours.

    Example:
        >>> import torch
        >>> x = torch.tensor([-1.0, 1.0])
        >>> c, i = searched_input_range(
        ...     torch.tensor(3.0), torch.tensor(0), x, lambda c: (c - 64) ** 2)
        >>> round(c.item()), i
        (64, tensor(1))
    """
    wide = torch.promote_types(input_range.dtype, torch.float32)
    known = input_range.abs().to(wide)
    size = x.detach().to(wide).square().mean().sqrt()
    begun = batches > 0
    low = torch.where(begun, known / 2, size)
    ratio = torch.where(begun, 4.0, 64.0)
    powers = torch.linspace(0, 1, _CANDIDATES, dtype=wide, device=x.device)
    useful = torch.isfinite(size) & (size > 0)
    candidates = torch.where(useful, low * ratio**powers, known)
    best = candidates.take(error(candidates).argmin())  # an index would break a compiled graph
    mean = ((known * batches + best) / (batches + 1)).to(input_range.dtype)
    return torch.where(useful, mean, input_range), batches + useful.to(batches.dtype)


def relative_error(y: Tensor, ideal: Tensor, dim: int) -> Tensor:
    """Return the mean over vectors of the squared error in units of the squared vector.

    Every vector counts alike: in sums over all of them a few large ones, as the outliers of
    transformers, would decide alone.

    Args:
        y: Outputs, as several trials: ``(trials, *shape of ideal)``.
        ideal: What they should be.
        dim: Axis of the outputs of one vector, counted from the end.

    Returns:
        Shape ``(trials,)``.

    Example:
        >>> import torch
        >>> y, ideal = torch.tensor([[[1.0], [90.0]]]), torch.tensor([[2.0], [100.0]])
        >>> relative_error(y, ideal, -1)
        tensor([0.0605])
    """
    square = ideal.square().sum(dim)
    floor = 1e-3 * square.mean()  # vectors of almost nothing have no direction to lose
    wrong = (y - ideal).square().sum(dim) / (square + floor).clamp_min(1e-30)
    return wrong.flatten(1).mean(1)


def input_range_gradient(
    input_range: Tensor,
    relative_x: Tensor,
    grad_clipped: Tensor,
    *,
    decay: float,
    min_percentage: float,
) -> Tensor:
    r"""Return the gradient by which the input range is learned.

    With dx the gradient arriving at the clipped input:

    .. math:: G = c \Big( \sum_{x \ge c} \min(dx, 0) - \sum_{x \le -c} \max(dx, 0) \Big)

    and ``decay * c`` is added while more than ``min_percentage`` of the inputs lie inside it.

    Args:
        input_range: Range c, scalar tensor.
        relative_x: Inputs divided by c, any shape.
        grad_clipped: dx where an input lies on or beyond the range, zero elsewhere; same shape.
        decay: Pull towards a narrower range, not negative.
        min_percentage: Share of inputs inside the range above which ``decay`` acts, 0 to 1.

    Returns:
        Gradient of the range, scalar tensor.

    Source:
        IBM/aihwkit, ``src/aihwkit/simulator/tiles/periphery.py``, ``post_backward``; the additional
        rounding term of its pure-torch tile is left out, as in its C++ tile.

    Example:
        >>> import torch
        >>> input_range_gradient(
        ...     torch.tensor(2.0), torch.tensor([0.5, 1.5]), torch.tensor([0.0, -1.0]),
        ...     decay=0.0, min_percentage=0.95)
        tensor(-2.)
    """
    # On a clipped input clamp(x / c) is its sign, so one minimum serves both sides.
    widening = (relative_x.clamp(-1, 1) * grad_clipped).clamp_(max=0).sum()
    if decay <= 0:
        return input_range * widening
    # floor(min(|x|/c, 1)) is 1 exactly on or beyond the range; far faster than comparing.
    outside = relative_x.abs().clamp_(max=1).floor_().mean()
    return range_step(input_range, widening, outside, decay, min_percentage)


def range_step(
    input_range: Tensor, widening: Tensor, outside: Tensor, decay: float, min_percentage: float
) -> Tensor:
    """Return the gradient of the range from the sums over all inputs.

    Args:
        input_range: Range c, scalar tensor.
        widening: Sum over the clipped inputs in brackets above, scalar tensor.
        outside: Share of inputs on or beyond the range, scalar tensor.
        decay: See :func:`input_range_gradient`.
        min_percentage: See :func:`input_range_gradient`.

    Example:
        >>> import torch
        >>> one = torch.tensor(1.0)
        >>> range_step(2 * one, -one, one / 2, decay=0.1, min_percentage=0.95)
        tensor(-2.)
    """
    narrowing = decay * (1 - outside > min_percentage).to(widening.dtype)
    return input_range * (widening + narrowing)

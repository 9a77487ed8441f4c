"""Uniform quantiser of DAC and ADC. Straight-through gradients are in :mod:`.mvm`."""

import torch
from torch import Tensor


def quantizer_steps(bits: int) -> int:
    """Return the number of steps of a symmetric converter, ``2**bits - 2``.

    A converter of ``bits`` bits including sign has ``2**bits - 1`` levels, among them zero and both
    bounds.

    Args:
        bits: Resolution in bits including the sign, 2 to 24.

    Returns:
        Number of steps between the lower and the upper bound.

    Raises:
        ValueError: If ``bits`` is outside 2 to 24 (float32 holds 24 bits).

    Source:
        IBM/aihwkit, ``src/aihwkit/simulator/presets/inference.py`` (``inp_res=254`` for 8 bit).

    Example:
        >>> quantizer_steps(8)
        254
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 24:
        raise ValueError(f"bits must be an integer from 2 to 24, got {bits!r}.")
    return 2**bits - 2


def quantize_uniform(
    x: Tensor,
    steps: int,
    bound: float,
    *,
    stochastic: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return ``x`` rounded to a uniform grid and clipped.

    .. math:: q(x) = \text{clip}(d \,\text{round}(x / d), -b, b), \qquad d = 2 b / N

    Rounding is half to even and comes before clipping.

    Args:
        x: Values, any shape, in units of ``bound``.
        steps: Number of steps N over the whole range, even.
        bound: Largest magnitude b that the converter represents, positive.
        stochastic: Add a uniform number in (-0.5, 0.5) steps before rounding.
        generator: Random numbers for ``stochastic``; torch's own if ``None``.

    Returns:
        Quantised values, same shape.

    Source:
        IBM/aihwkit, ``src/aihwkit/simulator/tiles/utils.py``, class ``UniformQuantize``.

    Example:
        >>> import torch
        >>> quantize_uniform(torch.tensor([0.4, 0.6, 3.0]), steps=2, bound=1.0)
        tensor([0., 1., 1.])
    """
    step = 2 * bound / steps
    # A division, as in the reference: a product with the inverse rounds some ties the other way.
    codes = converter_codes(x / step, steps, stochastic=stochastic, generator=generator)
    return codes * step


def converter_codes(
    levels: Tensor,
    steps: int,
    *,
    stochastic: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Round levels to integer converter codes in place.

    Args:
        levels: Signal in units of one step, any shape; overwritten.
        steps: Number of steps over the whole range, even.
        stochastic: Add a uniform number in (-0.5, 0.5) before rounding.
        generator: Random numbers for ``stochastic``; torch's own if ``None``.

    Returns:
        ``levels``, now integers from ``-steps / 2`` to ``steps / 2`` in the same dtype.

    Example:
        >>> import torch
        >>> converter_codes(torch.tensor([0.5, 1.5, 200.0]), steps=254)
        tensor([  0.,   2., 127.])
    """
    if stochastic:
        levels += torch.empty_like(levels).uniform_(-0.5, 0.5, generator=generator)
    return levels.round_().clamp_(-(steps // 2), steps // 2)

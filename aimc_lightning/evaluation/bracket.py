"""Search for the amount at which a curve passes a limit."""

import itertools
import math
from collections.abc import Callable


def bracket(
    holds: Callable[[float], bool],
    start: float,
    step: float,
    largest: float,
    *,
    tolerance: float,
    whole: bool = False,
    limit: int = 14,
) -> tuple[float, float]:
    """Return the largest amount that holds and the smallest that does not.

    The step is doubled until the limit breaks, then the bracket is halved until it is narrower than
    ``tolerance`` of its distance from the start, or ``limit`` amounts were tried.

    Args:
        holds: Whether an amount keeps the limit; it is not asked for ``start``, which does.
        start: Amount to begin with.
        step: First step above it.
        largest: Largest amount to try.
        tolerance: Width of the bracket over the distance of its upper end from the start.
        whole: Try whole amounts only.
        limit: Largest number of amounts to try.

    Returns:
        Both ends; the upper one is infinite if nothing broke the limit.

    Example:
        >>> bracket(lambda amount: amount < 3, 0, 1, 8, tolerance=0.5)
        (2, 4)
    """
    low, high, reach = start, math.inf, step
    for _ in range(limit):
        if math.isinf(high):
            if low >= largest:
                break
            amount = min(start + reach, largest)
            reach *= 2
        elif high - low <= (1 if whole else tolerance * (high - start)):
            break
        else:
            amount = math.floor((low + high) / 2) if whole else (low + high) / 2
        if holds(amount):
            low = amount
        else:
            high = amount
    return low, high


def crossing(curve: dict[float, float], limit: float) -> float:
    """Return where a curve first rises above a limit, by linear interpolation; NaN if never.

    Example:
        >>> crossing({0.0: 0.0, 2.0: 1.0}, 0.25)
        0.5
    """
    for (x0, y0), (x1, y1) in itertools.pairwise(sorted(curve.items())):
        if y0 <= limit < y1:
            return x0 + (limit - y0) / (y1 - y0) * (x1 - x0)
    return math.nan

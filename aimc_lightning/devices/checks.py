"""Checks of the fields of devices and converters; each message names value, rule and remedy."""

import math
from collections.abc import Iterable, Sequence
from typing import Any


def check_numbers(owner: object, names: Iterable[str], *, positive: bool = False) -> None:
    """Require finite numbers, not negative or positive, and store them as ``float``.

    Args:
        owner: Frozen dataclass under construction.
        names: Fields to check.
        positive: Whether 0 is refused too.

    Raises:
        TypeError: If a value is not a number.
        ValueError: If a value is out of range.
    """
    rule = "positive" if positive else "not negative"
    for name in names:
        value = getattr(owner, name)
        number = as_float(value, f"{type(owner).__name__}.{name}")
        if not math.isfinite(number) or number < 0.0 or (positive and number == 0.0):
            raise ValueError(
                f"{type(owner).__name__}.{name} is {value}, but it must be finite and {rule}."
            )
        object.__setattr__(owner, name, number)


def as_float(value: Any, label: str) -> float:  # noqa: ANN401
    """Return a real number as ``float`` and refuse everything else, also ``bool``.

    Args:
        value: What the user gave.
        label: Name for the message.

    Returns:
        The number.

    Raises:
        TypeError: If the value is not a real number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{label} is {value!r}, but it must be a number, for example 1.0.")
    return float(value)


def as_floats(
    values: Any,  # noqa: ANN401
    label: str,
    *,
    length: int | None = None,
    minimum_length: int = 1,
) -> tuple[float, ...]:
    """Return a sequence of finite numbers as a tuple of ``float``.

    Args:
        values: What the user gave, a list or a tuple.
        label: Name for the message.
        length: Exact number of entries; ``None`` for any.
        minimum_length: Smallest number of entries.

    Returns:
        The numbers.

    Raises:
        TypeError: If the value is not a list or a tuple of numbers.
        ValueError: If the number of entries is wrong or an entry is not finite.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{label} is {values!r}, but it must be a list of numbers.")
    numbers = tuple(as_float(value, f"{label}[{i}]") for i, value in enumerate(values))
    if length is not None and len(numbers) != length:
        raise ValueError(f"{label} has {len(numbers)} entries, but it must have {length}.")
    if len(numbers) < minimum_length:
        raise ValueError(
            f"{label} has {len(numbers)} entries, but it must have at least {minimum_length}."
        )
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{label} is {list(numbers)}, but every entry must be finite.")
    return numbers


def check_clip_range(law: Sequence[float], label: str) -> None:
    """Require that the last two entries of a clipped law are minimum and maximum.

    Args:
        law: Slope, offset, minimum, maximum.
        label: Name for the message.

    Raises:
        ValueError: If the minimum lies above the maximum or is negative.
    """
    low, high = law[-2], law[-1]
    if not 0.0 <= low <= high:
        raise ValueError(
            f"{label} clips to [{low}, {high}], but it must hold 0 <= minimum <= maximum; the "
            "order is (slope, offset, minimum, maximum)."
        )

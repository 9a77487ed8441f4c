"""Checks that the settings share; every message names the field, the rule and the value."""

import math
from typing import Any


def check_range(owner: object, name: str, low: float, high: float = math.inf) -> None:
    """Raise ValueError unless a field is ``None`` or a finite number between two limits."""
    value = getattr(owner, name)
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        limits = f"between {low:g} and {high:g}" if high < math.inf else f"at least {low:g}"
        raise ValueError(
            f"{type(owner).__name__}.{name} must be a finite number {limits}, got {value!r}."
        )


def check_count(owner: object, name: str) -> None:
    """Raise ValueError unless a field is a whole number, zero or more."""
    value = getattr(owner, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(
            f"{type(owner).__name__}.{name} must be an integer of at least 0, got {value!r}."
        )


def check_numbers(
    owner: object, name: str, low: float = -math.inf, what: str = "finite numbers"
) -> None:
    """Make a field of a frozen dataclass a tuple of floats; raise ValueError if it cannot be.

    Args:
        owner: The dataclass.
        name: Name of the field: any sequence of numbers.
        low: Smallest number allowed.
        what: What the field holds, for the message.
    """
    values = tuple(float(value) for value in getattr(owner, name))
    object.__setattr__(owner, name, values)
    if not values or not all(math.isfinite(value) and value >= low for value in values):
        raise ValueError(
            f"{type(owner).__name__}.{name} must be one or more {what}, got {values!r}."
        )


def check_choice(owner: object, name: str, choices: tuple[Any, ...]) -> None:
    """Raise ValueError unless a field is one of the choices."""
    value = getattr(owner, name)
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{type(owner).__name__}.{name} must be one of {known}, got {value!r}.")

"""Times after programming, as text and as seconds."""

import math
import re

# A year has 365 days here, as in the evaluation times of Rasch et al. 2023 (IBM/aihwkit).
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "y": 365 * 86400.0}
_NAMES = {"s": "s", "min": "min", "h": "h", "d": "day", "y": "year"}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*([a-z]*)\s*")


def parse_time(time: str | float) -> float:
    """Return a time after programming in seconds.

    Args:
        time: A number of seconds, or text such as ``"1s"``, ``"10min"``, ``"2h"``, ``"1d"`` or
            ``"1y"`` (365 days).

    Raises:
        ValueError: If the time is negative, not finite, or cannot be read.

    Example:
        >>> [parse_time(time) for time in ("90s", "2h", "1d", 5)]
        [90.0, 7200.0, 86400.0, 5.0]
    """
    rule = "it must be a number of seconds from 0 up, or a number with s, min, h, d or y, e.g. '1d'"
    if isinstance(time, str):
        match = _PATTERN.fullmatch(time)
        unit = match.group(2) or "s" if match else ""
        if match is None or unit not in _UNITS_S:
            raise ValueError(f"Cannot read the time {time!r}: {rule}.")
        return float(match.group(1)) * _UNITS_S[unit]
    if hasattr(time, "item"):  # a number of NumPy or a tensor
        time = time.item()
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise ValueError(f"Cannot read the time {time!r}: {rule}.")
    if not math.isfinite(time) or time < 0:
        raise ValueError(f"The time {time!r} is not possible: {rule}.")
    return float(time)


def format_time(t_inference_s: float) -> str:
    """Return a time in the largest unit that gives a whole number.

    Args:
        t_inference_s: Seconds since the end of programming.

    Example:
        >>> [format_time(t) for t in (1, 90, 3600, 86400, 31536000)]
        ['1 s', '90 s', '1 h', '1 day', '1 year']
    """
    for unit in ("y", "d", "h", "min"):
        count = t_inference_s / _UNITS_S[unit]
        if count >= 1 and count == int(count):
            plural = "s" if count > 1 and unit in ("d", "y") else ""
            return f"{int(count)} {_NAMES[unit]}{plural}"
    return f"{t_inference_s:g} s"

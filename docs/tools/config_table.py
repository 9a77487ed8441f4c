"""Every setting in one table: meaning from the docstring, range by trying, source by name."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import griffe

from aimc_lightning.config import TileConfig
from aimc_lightning.devices import (
    CustomDriftDevice,
    CustomPair,
    DualPair,
    FaultyDevice,
    HermesDevice,
    IdealDevice,
    NPair,
    PCMDevice,
    ReRamCMO,
    ReRamWan2022,
    ShapedPair,
    SingleDevice,
    SinglePair,
    StateIndependentDevice,
)
from aimc_lightning.integration.distillation import Distillation
from aimc_lightning.integration.schedule import NoiseSchedule
from aimc_lightning.integration.validation import Validation
from docs.tools.config_sources import RANGES, SOURCES, UNITS
from docs.tools.docstrings import to_markdown

#: Classes of settings that are no section of TileConfig, with arguments that they need.
OTHERS: dict[type, dict[str, Any]] = {
    PCMDevice: {},
    CustomDriftDevice: {
        "g_table_us": (0, 25), "nu_mean_table": (0.1, 0.05), "nu_std_table": (0.04, 0.01),
    },
    HermesDevice: {},
    ReRamWan2022: {},
    ReRamCMO: {},
    StateIndependentDevice: {},
    IdealDevice: {},
    FaultyDevice: {"device": PCMDevice()},
    SinglePair: {},
    DualPair: {},
    NPair: {},
    CustomPair: {"tables_us": ((0, 0, 25), (25, 0, 0))},
    ShapedPair: {},
    SingleDevice: {},
    NoiseSchedule: {},
    Validation: {},
    Distillation: {},
}  # fmt: skip
_SUFFIXES = {"_us": "µS", "_s": "s", "_ohm": "ohm", "bits": "bit"}
_LARGE = 1e6


class Row(NamedTuple):
    """One setting."""

    name: str
    meaning: str
    unit: str
    range: str
    default: str
    source: str


def sections() -> Iterator[tuple[str, type, dict[str, Any]]]:
    """Yield how a class of settings is called in the table, the class, arguments it needs."""
    for item in dataclasses.fields(TileConfig):
        yield item.name, get_type_hints(TileConfig)[item.name], {}
    for cls, arguments in OTHERS.items():
        yield cls.__name__, cls, arguments


def rows() -> list[Row]:
    """Return a row for each field of each class of settings."""
    return [
        _row(f"{prefix}.{item.name}", prefix, cls, arguments, item)
        for prefix, cls, arguments in sections()
        for item in dataclasses.fields(cls)
    ]


def _row(name: str, prefix: str, cls: type, arguments: dict[str, Any], item: Any) -> Row:  # noqa: ANN401
    unit = UNITS.get(name) or next(
        (unit for end, unit in _SUFFIXES.items() if item.name.endswith(end)), "-"
    )

    def accepts(value: Any) -> bool:  # noqa: ANN401
        try:
            cls(**{**arguments, item.name: value})
        except (ValueError, TypeError):
            return False
        return True

    value = arguments.get(item.name, item.default)
    return Row(
        name,
        _meanings(cls)[item.name],
        unit,
        RANGES.get(name) or _range(get_type_hints(cls)[item.name], value, accepts),
        _default(item, getattr(cls(**arguments), item.name)),
        SOURCES.get(name) or SOURCES.get(prefix) or _class_source(cls),
    )


def _sections_of(cls: type) -> list[Any]:
    text = to_markdown(inspect.cleandoc(cls.__doc__ or ""))
    return griffe.Docstring(text).parse("google", warnings=False)


def _meanings(cls: type) -> dict[str, str]:
    found = {}
    for section in _sections_of(cls):
        if section.kind.value in ("parameters", "attributes"):
            found |= {entry.name: _line(entry.description) for entry in section.value}
    return found


def _class_source(cls: type) -> str:
    for section in _sections_of(cls):
        if section.kind.value == "admonition" and section.value.kind == "source":
            return _line(section.value.contents).partition(". ")[0].rstrip(".")
    return "this library"


def _line(text: str) -> str:
    return " ".join(text.split())


def _default(item: "dataclasses.Field[Any]", built: Any) -> str:  # noqa: ANN401
    """Return the default as shown; ``built`` is the value in an object with the defaults."""
    value = built if item.default is None and dataclasses.is_dataclass(built) else item.default
    if item.default_factory is not dataclasses.MISSING:
        value = item.default_factory()
    if value is dataclasses.MISSING:
        return "must be given"
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    return repr(value)


def _range(hint: Any, value: Any, accepts: Callable[[Any], bool]) -> str:  # noqa: ANN401
    """Return which values a field takes: its choices, or what trying numbers shows."""
    union = get_origin(hint) not in (None, Literal, tuple)
    kinds = get_args(hint) if union else (hint,)
    parts = []
    choices = [repr(c) for kind in kinds if get_origin(kind) is Literal for c in get_args(kind)]
    if choices:
        parts.append(", ".join(choices))
    for kind in kinds:
        if kind is bool:
            parts.append("True, False")
        elif kind is int or kind is float:
            parts.append(_whole(accepts) if kind is int else _real(accepts))
        elif get_origin(kind) is tuple:
            parts.append(_lengths(value, accepts))
        elif get_origin(kind) is not Literal and kind is not type(None):
            parts.append(getattr(kind, "__name__", str(kind)))
    if (type(None) in kinds or value is None) and accepts(None):
        parts.append("None")
    return " or ".join(dict.fromkeys(parts))


def _whole(accepts: Callable[[Any], bool]) -> str:
    taken = [n for n in (-1000, *range(-2, 101), int(_LARGE)) if accepts(n)]
    if taken[-1] < _LARGE:
        return f"{taken[0]} to {taken[-1]}"
    return "any whole number" if taken[0] < -2 else f"{taken[0]} or more"


def _real(accepts: Callable[[Any], bool]) -> str:
    inside = next(x for x in (0.5, 1.0, 5.0, 10.0, 0.0) if accepts(x))
    high = "" if accepts(_LARGE) else f" to {_edge(accepts, inside, _LARGE):g}"
    if accepts(-_LARGE):
        return f"up{high}" if high else "any number"
    if accepts(0.0):
        return f"0{high or ' or more'}"
    low = "above 0" if accepts(1e-6) else f"{_edge(accepts, inside, 0):g}"
    return low + (high or ("" if low == "above 0" else " or more"))


def _edge(accepts: Callable[[Any], bool], inside: float, outside: float) -> float:
    """Return the last value that is accepted on the way outwards."""
    for _ in range(80):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if accepts(middle) else (inside, middle)
    return inside


def _lengths(value: Any, accepts: Callable[[Any], bool]) -> str:  # noqa: ANN401
    if not value or isinstance(value[0], tuple):
        return "lists of numbers" if value else "numbers"
    return "numbers" if accepts((*value, value[-1])) else f"{len(value)} number(s)"


def page() -> str:
    """Return the page: how to set a value, a field to search in, and the table."""
    lines = ["| setting | meaning, source | unit | range | default |", "|---|---|---|---|---|"]
    for row in rows():
        meaning = f"{row.meaning}<br><small>{row.source}</small>"
        cells = (f"`{row.name}`", meaning, row.unit, row.range, f"`{row.default}`")
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    table = "\n".join(lines)
    return _TEXT + f'<div id="fields" class="fields" markdown>\n\n{table}\n\n</div>\n'


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


_TEXT = """---
hide: [toc]
---

# Tile settings

Every setting of a tile, a device, a converter and of training, made from the code. Names in small
letters are fields of `TileConfig`; the others are fields of the class before the dot. Units: *full
product* is the output of one full input on one full weight; `-` is without unit. Ranges were found
by trying values: they are what the code accepts. `aimc-lightning explain PRESET` tells what a
whole preset means.

```python
from aimc_lightning import TileConfig

config = TileConfig().with_values({"adc.bits": 6, "noise.output_std": 0.0})
```

In YAML: `adc: {bits: 6}`.

<input class="filter" type="search" data-table="fields" aria-label="Search the settings"
placeholder="Search, for example: noise, bits, µS">

"""

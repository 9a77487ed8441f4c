"""Coarse energy and time of a mapped network, from published constants of real chips.

Only products on tiles are counted, with numbers of chips that are not the simulated one: read the
result as an order of magnitude. All constants are data with sources, in ``constants/*.yaml``.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from aimc_lightning.evaluation.mapping.layer import LayerMapping

_CERTAINTIES = ("read", "second-hand", "derived")
_LEVELS = ("low", "typical", "high")


@dataclass(frozen=True)
class Range:
    """A number with its range; low <= typical <= high.

    Attributes:
        low: Favourable end.
        typical: What to expect first.
        high: Unfavourable end.
    """

    low: float
    typical: float
    high: float

    def __post_init__(self) -> None:
        """Check the order."""
        if not 0 < self.low <= self.typical <= self.high < math.inf:
            raise ValueError(
                f"low, typical and high must be positive and ascending, got {self.low:g}, "
                f"{self.typical:g}, {self.high:g}."
            )

    def __str__(self) -> str:
        """Return typical value and range."""
        return f"{self.typical:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Constants:
    """Published numbers of one chip.

    Attributes:
        name: Name of the file.
        title: The chip in a few words.
        source: Paper.
        rows: Rows of its crossbar.
        columns: Columns of its crossbar.
        energy_per_mvm_nj: Energy of one product of a full crossbar, nanojoules.
        latency_per_mvm_ns: Time of one product, nanoseconds.
        includes: What the energy covers.
        excludes: What it does not.
        origins: Source, certainty and derivation of each number, as text.
    """

    name: str
    title: str
    source: str
    rows: int
    columns: int
    energy_per_mvm_nj: Range
    latency_per_mvm_ns: Range
    includes: str
    excludes: str
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """Coarse cost of one sample on one published chip.

    Attributes:
        constants: The chip.
        energy_uj: Energy of all products, microjoules. Low: in proportion to the cells in use;
            typical: to the columns in use (converters without a column are off); high: every
            crossbar in full.
        latency_us: Time of one sample, matrices one after another, crossbars of one at once.
        interval_us: Time between samples if all matrices work at once on different samples.
    """

    constants: Constants
    energy_uj: Range
    latency_us: Range
    interval_us: Range


def list_constants() -> list[str]:
    """Return the names of the constants that come with the package, sorted.

    Example:
        >>> list_constants()
        ['analog_ai_2023', 'hermes_64core_2023', 'hermes_core_2022']
    """
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load_constants(name: str | Path) -> Constants:
    """Read the constants of a chip.

    Args:
        name: A name of :func:`list_constants`, or a YAML file of the same form.

    Raises:
        ValueError: If there is no such file, or a number is missing, out of order or lacks a
            source.

    Example:
        >>> load_constants("hermes_core_2022").rows
        256
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = _folder() / f"{name}.yaml"
    if not path.is_file():
        known = list_constants()
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"unknown constants {str(name)!r}: known are {', '.join(known)}, or give a YAML file "
            f"of the same form.{hint}"
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(
            f"constants {str(path)!r} must be a YAML file, but it cannot be read: {error}"
        ) from error
    return _constants(path, data)


def estimate(layers: Sequence[LayerMapping], constants: Constants) -> Estimate:
    """Return the coarse cost of one sample.

    Args:
        layers: Layers with counted ``vectors``.
        constants: The chip whose numbers are used. Crossbars larger than its own take several.

    Raises:
        ValueError: If no product was counted.
    """
    active = [layer for layer in layers if layer.vectors]
    if not active:
        raise ValueError(
            "no product on tiles was counted, so there is no energy to estimate; give a "
            "sample_input that reaches the analog layers."
        )
    shares = (_cells_used, _columns_used, _whole_crossbars)
    energies = {
        level: sum(_products(layer) * _full_crossbars(layer, constants, share) for layer in active)
        * getattr(constants.energy_per_mvm_nj, level)
        / 1e3
        for level, share in zip(_LEVELS, shares, strict=True)
    }
    steps = [_products(layer) for layer in active]
    times = {level: getattr(constants.latency_per_mvm_ns, level) / 1e3 for level in _LEVELS}
    return Estimate(
        constants,
        Range(**energies),
        Range(**{level: sum(steps) * time for level, time in times.items()}),
        Range(**{level: max(steps) * time for level, time in times.items()}),
    )


def _products(layer: LayerMapping) -> float:
    """Return the products of one sample that follow each other on the same crossbar."""
    return (layer.vectors or 0.0) * layer.passes


def _full_crossbars(
    layer: LayerMapping, chip: Constants, share: Callable[[float, float], float]
) -> float:
    """Return how many full crossbars of the chip one product of a layer costs."""
    return sum(
        share(rows / chip.rows, columns / layer.groups / chip.columns)
        for rows, columns in layer.crossbars
    )


def _cells_used(rows: float, columns: float) -> float:
    return rows * columns


def _columns_used(rows: float, columns: float) -> float:
    return math.ceil(rows) * columns


def _whole_crossbars(rows: float, columns: float) -> float:
    return math.ceil(rows) * math.ceil(columns)


def _folder() -> Path:
    return Path(str(files("aimc_lightning.evaluation.mapping"))) / "constants"


def _constants(path: Path, data: Any) -> Constants:  # noqa: ANN401 - what YAML gives
    """Check what was read and return it."""
    try:
        texts = {key: str(data[key]) for key in ("title", "source", "includes", "excludes")}
        rows, columns = (int(data["crossbar"][key]) for key in ("rows", "columns"))
        energy, latency = (
            Range(**{level: float(data[key][level]) for level in _LEVELS})
            for key in ("energy_per_mvm_nj", "latency_per_mvm_ns")
        )
        parts = ("crossbar", "energy_per_mvm_nj", "latency_per_mvm_ns")
        origins = tuple(_origin(part, data[part]) for part in parts)
    except (KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"constants {str(path)!r}: {what}. Each number needs low, typical, high, source and "
            f"certainty, as in {list_constants()[0]}.yaml."
        ) from error
    if min(rows, columns) < 1:
        raise ValueError(f"constants {str(path)!r}: a crossbar has at least one row and column.")
    return Constants(
        path.stem, rows=rows, columns=columns, energy_per_mvm_nj=energy,
        latency_per_mvm_ns=latency, origins=origins, **texts,
    )  # fmt: skip


def _origin(part: str, data: dict[str, Any]) -> str:
    """Return where the numbers of one part are from, or raise if that is not said."""
    certainty = data["certainty"]
    if not str(data["source"]).strip() or certainty not in _CERTAINTIES:
        raise ValueError(
            f"{part} needs a source and a certainty, one of {', '.join(_CERTAINTIES)}, got "
            f"{certainty!r}"
        )
    derivation = f"; {data['derivation']}" if "derivation" in data else ""
    return f"{part} [{certainty}]: {data['source']}{derivation}"

"""Named ways to represent a weight by conductances: pairs, tables, single devices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from aimc_lightning.devices.checks import as_floats, check_numbers
from aimc_lightning.devices.converter_base import ConductanceConverter, register_converter
from aimc_lightning.functional.conductance import (
    combined_table,
    pairs_to_weights,
    single_to_weights,
    weights_to_pairs,
    weights_to_shaped_pair,
    weights_to_single,
    weights_to_table,
)


class _FilledPairs(ConductanceConverter):
    """Pairs of which the least significant fills first; shared by the pair converters."""

    factors: tuple[float, ...]

    @property
    def devices_per_weight(self) -> int:
        """Two per factor."""
        return 2 * len(self.factors)

    def to_conductances(self, weight: Tensor, g_max_us: float) -> tuple[list[Tensor], Tensor]:
        """Return g+ and g- of each pair; see the base class."""
        return weights_to_pairs(weight, g_max_us, self.g_min_us, self.factors)

    def to_weights(
        self, conductances_us: Sequence[Tensor], scale: Tensor, g_max_us: float
    ) -> Tensor:
        """Return the weights; see the base class."""
        return pairs_to_weights(conductances_us, scale, self.factors)


@register_converter
@dataclass(frozen=True)
class SinglePair(_FilledPairs):
    """``SinglePair()``: one pair; g+ carries positive weights, g- negative ones.

    Args:
        g_min_us: Conductance that stands for zero, in microsiemens.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/converter/conductance.py``.
    """

    name: ClassVar[str] = "single_pair"
    factors: ClassVar[tuple[float, ...]] = (1.0,)  # type: ignore[misc]
    g_min_us: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_numbers(self, ["g_min_us"])


@register_converter
@dataclass(frozen=True)
class NPair(_FilledPairs):
    """``NPair(factors=(1, 2, 4))``: several pairs of different significance.

    Args:
        factors: Significance of each pair, least significant first, positive. The least significant
            pair fills first, so that the noise of small weights is not amplified.
        g_min_us: Conductance that stands for zero, in microsiemens.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/converter/conductance.py``.
    """

    name: ClassVar[str] = "n_pair"
    factors: tuple[float, ...] = (1.0, 1.0)
    g_min_us: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "factors", _checked_factors(self, self.factors))
        check_numbers(self, ["g_min_us"])


@register_converter
@dataclass(frozen=True)
class DualPair(NPair):
    """``DualPair(factors=(1, 4))``: two pairs, a less and a more significant one.

    Args:
        factors: Significance of the two pairs, least significant first.
        g_min_us: Conductance that stands for zero, in microsiemens.
    """

    name: ClassVar[str] = "dual_pair"

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if len(self.factors) != 2:
            raise ValueError(
                f"DualPair.factors has {len(self.factors)} entries, but it must have 2; use NPair "
                "for another number of pairs."
            )


@register_converter
@dataclass(frozen=True)
class CustomPair(ConductanceConverter):
    """``CustomPair(tables_us=((0, 0, 25), (25, 0, 0)))``: pairs read from user tables.

    The tables are given at evenly spaced weights from minus to plus the largest weight of the tile.
    The combined conductance, the sum of factor times (g+ - g-), must be proportional to the weight
    at every table position: only then converting back gives the weights again.

    Args:
        tables_us: For each pair a table of g+ and one of g-, in microsiemens, all equally long.
        factors: Significance of each pair, least significant first, positive.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/converter/conductance.py``, custom pair; its
        invertibility test takes five weights, ours every table position, tolerance 1e-4 as there.
    """

    name: ClassVar[str] = "custom_pair"
    tables_us: tuple[tuple[float, ...], ...]
    factors: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Check the fields and that the tables can be inverted."""
        object.__setattr__(self, "factors", _checked_factors(self, self.factors))
        if isinstance(self.tables_us, str) or not isinstance(self.tables_us, Sequence):
            raise TypeError(
                f"CustomPair.tables_us is {self.tables_us!r}, but it must be a list of tables."
            )
        tables = tuple(
            as_floats(table, f"CustomPair.tables_us[{i}]", minimum_length=2)
            for i, table in enumerate(self.tables_us)
        )
        object.__setattr__(self, "tables_us", tables)
        if any(value < 0.0 for table in tables for value in table):
            raise ValueError(
                "CustomPair.tables_us has a negative entry, but conductances must be >= 0."
            )
        self._check_invertible()

    def _check_invertible(self) -> None:
        combined = combined_table(self.tables_us, self.factors)
        largest = max(abs(value) for value in combined)
        steps = len(combined) - 1
        line = [largest * (2.0 * m / steps - 1.0) for m in range(steps + 1)]
        for m, (value, wanted) in enumerate(zip(combined, line, strict=True)):
            if largest == 0.0 or not math.isclose(value, wanted, abs_tol=1e-4 * largest):
                raise ValueError(
                    f"CustomPair.tables_us is not invertible: position {m} of {steps + 1} adds up "
                    f"to {value:g} uS, but the sum of factor * (g_plus - g_minus) must run evenly "
                    f"from -{largest:g} to {largest:g} uS, which is {wanted:g} uS there."
                )

    @property
    def g_min_us(self) -> float:  # type: ignore[override]
        """Smallest conductance in the tables, in microsiemens."""
        return min(value for table in self.tables_us for value in table)

    @property
    def devices_per_weight(self) -> int:
        """Two per factor."""
        return len(self.tables_us)

    def to_conductances(self, weight: Tensor, g_max_us: float) -> tuple[list[Tensor], Tensor]:
        """Return the interpolated tables; ``g_max_us`` is not used; see the base class."""
        return weights_to_table(weight, self.tables_us, self.factors)

    def to_weights(
        self, conductances_us: Sequence[Tensor], scale: Tensor, g_max_us: float
    ) -> Tensor:
        """Return the weights; see the base class."""
        return pairs_to_weights(conductances_us, scale, self.factors)

    def conductance_range_us(self, g_max_us: float) -> tuple[float, float]:
        """Return the range of the tables; see the base class."""
        largest = max(value for table in self.tables_us for value in table)
        if largest > g_max_us:
            raise ValueError(
                f"CustomPair.tables_us reaches {largest} uS, but the device's g_max_us is "
                f"{g_max_us}; raise g_max_us or scale the tables down."
            )
        return self.g_min_us, largest


@register_converter
@dataclass(frozen=True)
class SingleDevice(ConductanceConverter):
    """``SingleDevice()``: one bidirectional device; the weight range fills the conductance range.

    The device's ``g_max_us`` stands for the largest weight, ``g_min_us`` for the smallest.

    Args:
        g_min_us: Conductance of the smallest weight, in microsiemens.

    Source:
        Default 9 uS as for CMO/HfOx ReRAM in IBM/aihwkit,
        ``src/aihwkit/inference/converter/conductance.py``.
    """

    name: ClassVar[str] = "single_device"
    g_min_us: float = 9.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_numbers(self, ["g_min_us"])

    @property
    def devices_per_weight(self) -> int:
        """One."""
        return 1

    def to_conductances(self, weight: Tensor, g_max_us: float) -> tuple[list[Tensor], Tensor]:
        """Return one conductance per weight; the scale has shape ``(2,)``; see the base class."""
        conductance_us, scale = weights_to_single(weight, g_max_us, self.g_min_us)
        return [conductance_us], scale

    def to_weights(
        self, conductances_us: Sequence[Tensor], scale: Tensor, g_max_us: float
    ) -> Tensor:
        """Return the weights; see the base class."""
        if len(conductances_us) != 1:
            raise ValueError(
                f"{len(conductances_us)} conductances were given, but SingleDevice takes one."
            )
        return single_to_weights(conductances_us[0], scale, self.g_min_us)


@register_converter
@dataclass(frozen=True)
class ShapedPair(ConductanceConverter):
    """``ShapedPair(curve=(0, 0.6, 1))``: one pair whose targets are not proportional to the weight.

    A target above the line makes up for what the device loses on average at that conductance; what
    is read is converted back in proportion, as for :class:`SinglePair`.
    :func:`~aimc_lightning.evaluation.programming.optimized_programming` finds curves.

    Args:
        curve: Target of g+ (positive weights) or g- (negative ones) over ``g_max_us``, at evenly
            spaced magnitudes from 0 to the largest weight; from 0 to 1, the first one 0.
    """

    name: ClassVar[str] = "shaped_pair"
    g_min_us: ClassVar[float] = 0.0  # type: ignore[misc]
    curve: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Check the curve."""
        curve = as_floats(self.curve, "ShapedPair.curve", minimum_length=2)
        object.__setattr__(self, "curve", curve)
        if curve[0] != 0.0 or not 0.0 <= min(curve) <= max(curve) <= 1.0 or max(curve) == 0.0:
            raise ValueError(
                f"ShapedPair.curve is {list(curve)}, but it must begin with 0, stay between 0 and "
                "1 and not be 0 everywhere."
            )

    @property
    def devices_per_weight(self) -> int:
        """Two."""
        return 2

    def to_conductances(self, weight: Tensor, g_max_us: float) -> tuple[list[Tensor], Tensor]:
        """Return g+ and g-; see the base class."""
        return weights_to_shaped_pair(weight, self.curve, g_max_us)

    def to_weights(
        self, conductances_us: Sequence[Tensor], scale: Tensor, g_max_us: float
    ) -> Tensor:
        """Return the weights, in proportion to the difference; see the base class."""
        return pairs_to_weights(conductances_us, scale)


def _checked_factors(owner: object, factors: object) -> tuple[float, ...]:
    label = f"{type(owner).__name__}.factors"
    numbers = as_floats(factors, label)
    if min(numbers) <= 0.0:
        raise ValueError(f"{label} is {list(numbers)}, but every factor must be positive.")
    return numbers

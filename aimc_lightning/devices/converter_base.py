"""What a converter is: weights of a tile to device conductances and back, by registered name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from aimc_lightning.devices.registry import Registry, to_plain


class ConductanceConverter(ABC):
    """Weights of one tile to device conductances and back; deterministic.

    Subclasses are frozen dataclasses of plain JSON types with a class variable ``name``.
    """

    name: ClassVar[str]
    g_min_us: float

    @property
    @abstractmethod
    def devices_per_weight(self) -> int:
        """Number of conductances per weight."""

    @abstractmethod
    def to_conductances(self, weight: Tensor, g_max_us: float) -> tuple[list[Tensor], Tensor]:
        """Return the conductances that represent the weights of a tile.

        Args:
            weight: Normalised weights of the whole tile, shape ``(out, in)``, dimensionless.
            g_max_us: Largest conductance of the device in microsiemens.

        Returns:
            ``devices_per_weight`` tensors in microsiemens with the shape of ``weight``, ordered
            g+, g- per pair, least significant pair first; and the scale that ``to_weights`` needs.
        """

    @abstractmethod
    def to_weights(
        self, conductances_us: Sequence[Tensor], scale: Tensor, g_max_us: float
    ) -> Tensor:
        """Return the weights that conductances represent.

        Args:
            conductances_us: As ``to_conductances`` returned them, in microsiemens.
            scale: As ``to_conductances`` returned it.
            g_max_us: Largest conductance of the device in microsiemens.

        Returns:
            Weights, same shape, dimensionless.
        """

    def conductance_range_us(self, g_max_us: float) -> tuple[float, float]:
        """Return the smallest and largest target conductance in microsiemens.

        Args:
            g_max_us: Largest conductance of the device in microsiemens.

        Returns:
            ``g_min_us`` and ``g_max_us``, unless the subclass has other limits.

        Raises:
            ValueError: If the converter does not fit a device with this largest conductance.
        """
        if self.g_min_us >= g_max_us:
            raise ValueError(
                f"{type(self).__name__}.g_min_us is {self.g_min_us}, but it must be below the "
                f"device's g_max_us {g_max_us}; lower g_min_us."
            )
        return self.g_min_us, g_max_us

    def to_dict(self) -> dict[str, Any]:
        """Return name and fields as plain JSON types."""
        return to_plain(self)


_REGISTRY: Registry[ConductanceConverter] = Registry("converter")
register_converter = _REGISTRY.register


def converter_from_dict(data: Mapping[str, Any]) -> ConductanceConverter:
    """Build a converter from its dict form.

    Args:
        data: ``{"name": ..., field: value, ...}``; missing fields take their defaults.

    Returns:
        The converter.

    Raises:
        ValueError: If a name, a field or a value is not valid.

    Example:
        >>> from aimc_lightning.devices.converters import DualPair
        >>> converter_from_dict({"name": "dual_pair", "factors": [1, 4]})
        DualPair(factors=(1.0, 4.0), g_min_us=0.0)
    """
    return _REGISTRY.from_dict(data)


def list_converters() -> list[str]:
    """Return the names of all converters."""
    return _REGISTRY.names()

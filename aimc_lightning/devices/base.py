"""What a memory device is: a largest conductance, and three laws (program, drift, read).

A device of your own is one small class::

    from dataclasses import dataclass
    from typing import ClassVar
    import torch
    from aimc_lightning.devices.base import Device, register_device
    from aimc_lightning.functional.programming import add_conductance_noise

    @register_device
    @dataclass(frozen=True)
    class SteadyDevice(Device):
        name: ClassVar[str] = "steady"
        g_max_us: float = 50.0
        prog_std_us: float = 0.5

        def program(self, g_target_us, *, generator=None):
            return add_conductance_noise(g_target_us, self.prog_std_us, generator=generator)

``draw_drift`` and ``read`` are overridden in the same way where the device drifts or is noisy.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from aimc_lightning.devices.converter_base import ConductanceConverter
from aimc_lightning.devices.registry import Registry, to_plain
from aimc_lightning.functional.drift import require_time


class Device(ABC):
    """A memory device: programmed once, then drifting and read with noise.

    Subclasses are frozen dataclasses of plain JSON types with a class variable ``name``. Only
    ``program`` must be written; the defaults neither drift nor are noisy. All tensors are in
    microsiemens and of one shape; random draws come from ``generator`` alone.
    """

    name: ClassVar[str]
    g_max_us: float

    @abstractmethod
    def program(self, g_target_us: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return what programming reaches, with programming noise.

        Args:
            g_target_us: Target conductance in microsiemens, any shape.
            generator: Source of the draw, on the device of ``g_target_us``.

        Returns:
            Programmed conductance in microsiemens, a new tensor of the same shape.
        """

    def draw_drift(
        self, g_target_us: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the drift exponents; zeros unless the subclass drifts.

        Args:
            g_target_us: Target conductance in microsiemens, any shape.
            generator: Source of the draw, on the device of ``g_target_us``.

        Returns:
            Exponent per device, same shape, dimensionless. Drawn once per chip.
        """
        del generator
        return torch.zeros_like(g_target_us)

    def program_chip(
        self, g_target_us: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return everything that is fixed for a chip; tiles call this.

        Args:
            g_target_us: Target conductance in microsiemens, any shape.
            generator: Source of the draws, on the device of ``g_target_us``.

        Returns:
            Programmed conductance in microsiemens and drift exponents, each of the same shape.
        """
        g_prog_us = self.program(g_target_us, generator=generator)
        return g_prog_us, self.draw_drift(g_target_us, generator=generator)

    def read(
        self,
        g_prog_us: Tensor,
        nu: Tensor,
        g_target_us: Tensor,
        t_inference_s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the conductance at a time, with drift and accumulated read noise.

        Args:
            g_prog_us: Programmed conductance in microsiemens, any shape.
            nu: Drift exponents of the chip, same shape.
            g_target_us: Target conductance in microsiemens, same shape.
            t_inference_s: Seconds since the end of programming.
            generator: Source of the draw, on the device of ``g_prog_us``.

        Returns:
            Conductance in microsiemens, same shape.

        Raises:
            ValueError: If the device has no data for this time.
        """
        del nu, g_target_us, generator
        self.check_time(t_inference_s)
        return g_prog_us.clone()

    def check_time(self, t_inference_s: float) -> None:
        """Raise unless the device can be read at this time.

        Args:
            t_inference_s: Seconds since the end of programming.

        Raises:
            ValueError: If not; the message names the valid times.
        """
        require_time(t_inference_s)

    def check_converter(self, converter: ConductanceConverter) -> None:
        """Raise unless the device can hold the conductances of a converter.

        Args:
            converter: How weights are represented by this device.

        Raises:
            ValueError: If not; the message names both ranges.
        """
        converter.conductance_range_us(self.g_max_us)

    def to_dict(self) -> dict[str, Any]:
        """Return name and fields as plain JSON types."""
        return to_plain(self)


_REGISTRY: Registry[Device] = Registry("device")
register_device = _REGISTRY.register


def device_from_dict(data: Mapping[str, Any]) -> Device:
    """Build a device from its dict form.

    Args:
        data: ``{"name": ..., field: value, ...}``; missing fields take their defaults.

    Returns:
        The device.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a name, a field or a value is not valid.
    """
    return _REGISTRY.from_dict(data)


def list_devices() -> list[str]:
    """Return the names of all registered devices, in alphabetical order."""
    return _REGISTRY.names()

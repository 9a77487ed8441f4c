"""Faults on top of any device: stuck at zero, at the largest or at a random conductance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from aimc_lightning.devices.base import Device, device_from_dict, register_device
from aimc_lightning.devices.checks import check_numbers
from aimc_lightning.devices.converter_base import ConductanceConverter
from aimc_lightning.functional.faults import draw_stuck_devices

# Exponents are never negative, so this value can mark a stuck device in the tensor of exponents.
_STUCK = -1.0


@register_device
@dataclass(frozen=True, kw_only=True)
class FaultyDevice(Device):
    """``FaultyDevice(device=PCMDevice(), p_zero=0.01)``: some devices cannot be programmed.

    Which devices are stuck, and where, is drawn once per chip. A stuck device keeps its conductance
    for ever: no programming noise, no drift, no read noise.

    Args:
        device: The healthy device, or its dict form.
        p_zero: Probability that a device is stuck at zero.
        p_g_max: Probability that a device is stuck at ``g_max_us``.
        p_random: Probability that a device is stuck at a value drawn uniformly from 0 to
            ``g_max_us``.

    Source:
        The three kinds of fault are those of IBM/aihwkit,
        ``src/rpucuda/cuda/weight_modifier_cuda.cu``, there of training noise.
    """

    name: ClassVar[str] = "faulty"
    device: Device
    p_zero: float = 0.0
    p_g_max: float = 0.0
    p_random: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        if isinstance(self.device, Mapping):
            object.__setattr__(self, "device", device_from_dict(self.device))
        if not isinstance(self.device, Device) or isinstance(self.device, FaultyDevice):
            raise TypeError(
                f"FaultyDevice.device is {self.device!r}, but it must be a healthy device, for "
                "example PCMDevice()."
            )
        check_numbers(self, ["p_zero", "p_g_max", "p_random"])
        total = self.p_zero + self.p_g_max + self.p_random
        if total > 1.0 + 1e-9:
            raise ValueError(
                f"FaultyDevice.p_zero, p_g_max and p_random are {self.p_zero}, {self.p_g_max} and "
                f"{self.p_random}, but they must sum to at most 1, not {total:g}."
            )

    @property
    def g_max_us(self) -> float:  # type: ignore[override]
        """Largest conductance of the healthy device in microsiemens."""
        return self.device.g_max_us

    def program(self, g_target_us: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the programmed conductance of healthy and stuck devices; see the base class."""
        return self.program_chip(g_target_us, generator=generator)[0]

    def draw_drift(
        self, g_target_us: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the exponents of healthy devices; ``program_chip`` marks the stuck ones."""
        return self.device.draw_drift(g_target_us, generator=generator)

    def program_chip(
        self, g_target_us: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return conductances and exponents; -1 marks the stuck devices; see the base class."""
        healthy_us, nu = self.device.program_chip(g_target_us, generator=generator)
        g_prog_us, stuck = draw_stuck_devices(
            healthy_us, self.g_max_us, self.p_zero, self.p_g_max, self.p_random, generator=generator
        )
        return g_prog_us, nu.masked_fill(stuck, _STUCK)

    def read(
        self,
        g_prog_us: Tensor,
        nu: Tensor,
        g_target_us: Tensor,
        t_inference_s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the conductance at a time; stuck devices keep theirs; see the base class."""
        healthy_us = self.device.read(
            g_prog_us, nu.clamp(min=0.0), g_target_us, t_inference_s, generator=generator
        )
        return torch.where(nu < 0.0, g_prog_us, healthy_us)

    def check_time(self, t_inference_s: float) -> None:
        """Raise unless the healthy device can be read then; see the base class."""
        self.device.check_time(t_inference_s)

    def check_converter(self, converter: ConductanceConverter) -> None:
        """Raise unless the healthy device fits the converter; see the base class."""
        self.device.check_converter(converter)

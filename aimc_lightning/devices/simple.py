"""Devices without fitted data: the ideal one and one whose noise does not depend on its state."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from aimc_lightning.devices.base import Device, register_device
from aimc_lightning.devices.checks import check_numbers
from aimc_lightning.devices.power_law import PowerLawDevice


@register_device
@dataclass(frozen=True, kw_only=True)
class IdealDevice(Device):
    """``IdealDevice()``: programmed exactly, without drift, read without noise.

    Args:
        g_max_us: Largest conductance in microsiemens.
    """

    name: ClassVar[str] = "ideal"
    g_max_us: float = 25.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_numbers(self, ["g_max_us"], positive=True)

    def program(self, g_target_us: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the target; see the base class."""
        del generator
        return g_target_us.clone()


@register_device
@dataclass(frozen=True, kw_only=True)
class StateIndependentDevice(PowerLawDevice):
    r"""``StateIndependentDevice()``: the same noise and drift at every conductance.

    .. math::
        \sigma_\text{prog} = 0.2\,\mu S, \quad \nu = |0.1 + 0.05 \xi|, \quad
        \sigma_\text{read} = \frac{g_d}{g_\max} \sqrt{\ln \tfrac{t + t_r}{2 t_r}} \,\mu S

    Args:
        g_max_us: Largest conductance in microsiemens.
        prog_noise_scale: Factor on the programming noise; 0 switches it off.
        prog_coeff: Own polynomial of the programming noise over ``g_T / g_max``, microsiemens.
        prog_coeff_g_max_us: Conductance the polynomial was fitted at; ``None``: ``g_max_us``.
        drift_scale: Factor on the drift exponents; 0 switches drift off.
        drift_spread_scale: Factor on the spread of the exponents alone.
        read_noise_scale: Factor on the read noise; 0 switches it off.
        t_0_s: Seconds between programming and the first read.
        t_read_s: Seconds that one read takes.
        nu_mean: Mean exponent before folding.
        nu_std: Standard deviation of the exponent before folding.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/noise/custom.py``.
    """

    name: ClassVar[str] = "state_independent"
    g_max_us: float = 25.0
    nu_mean: float = 0.1
    nu_std: float = 0.05

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        check_numbers(self, ["nu_mean", "nu_std"])

    def fitted_programming_polynomial(self) -> tuple[tuple[float, ...], float]:
        """Return a constant that does not scale with ``g_max_us``; see the base class."""
        return (0.2,), self.g_max_us

    def exponent_statistics(self, g_relative: Tensor) -> tuple[Tensor, Tensor]:
        """Return two constants; see the base class."""
        return torch.full_like(g_relative, self.nu_mean), torch.full_like(g_relative, self.nu_std)

    def read_noise_strength(self, g_relative: Tensor) -> Tensor:
        """Return one microsiemens at ``g_max_us``; see the base class."""
        return torch.full_like(g_relative, 1.0 / self.g_max_us)

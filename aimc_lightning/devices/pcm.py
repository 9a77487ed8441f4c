"""Phase-change memory: the standard model of the field, and the same with a user's drift table."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from aimc_lightning.devices.base import register_device
from aimc_lightning.devices.checks import as_floats, check_clip_range
from aimc_lightning.devices.converter_base import ConductanceConverter
from aimc_lightning.devices.power_law import PowerLawDevice
from aimc_lightning.functional.curves import clipped_logarithm, interpolate_table
from aimc_lightning.functional.drift import power_law_noise_strength

_PROGRAMMING_COEFFICIENTS_US = (0.26348, 1.9650, -1.1731)
_FITTED_AT_US = 25.0


@register_device
@dataclass(frozen=True, kw_only=True)
class PCMDevice(PowerLawDevice):
    r"""``PCMDevice(g_max_us=25.0)``: phase-change memory as calibrated on a million devices.

    .. math::
        \sigma_\text{prog} &= \tfrac{g_\max}{25} (0.26348 + 1.9650 r - 1.1731 r^2) \\
        \mu_\nu &= \operatorname{clip}(-0.0155 \ln r + 0.0244,\; 0.049,\; 0.1) \\
        \sigma_\nu &= \operatorname{clip}(-0.0125 \ln r - 0.0059,\; 0.008,\; 0.045) \\
        Q &= \min(0.0088 / \max(r^{0.65}, 10^{-3}),\; 0.2)

    Args:
        g_max_us: Largest conductance in microsiemens.
        prog_noise_scale: Factor on the programming noise; 0 switches it off.
        prog_coeff: Own polynomial of the programming noise, in microsiemens.
        prog_coeff_g_max_us: Conductance the polynomial was fitted at, in microsiemens; ``None``
            means 25 for the fitted one and ``g_max_us`` for an own one.
        drift_scale: Factor on the drift exponents; 0 switches drift off.
        drift_spread_scale: Factor on the spread of the exponents alone.
        read_noise_scale: Factor on the accumulated 1/f noise; 0 switches it off.
        t_0_s: Seconds between programming and the first read.
        t_read_s: Seconds that one read takes.
        nu_mean_law: Slope and offset over ``ln r``, minimum and maximum of the mean exponent.
        nu_std_law: The same of its standard deviation.
        read_noise_law: Coefficient, exponent, floor of ``r^p`` and maximum of Q.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/noise/pcm.py``, after
        Nandakumar et al., ICECS 2019. Dependence on temperature is left out.
    """

    name: ClassVar[str] = "pcm"
    g_max_us: float = 25.0
    nu_mean_law: tuple[float, ...] = (-0.0155, 0.0244, 0.049, 0.1)
    nu_std_law: tuple[float, ...] = (-0.0125, -0.0059, 0.008, 0.045)
    read_noise_law: tuple[float, ...] = (0.0088, 0.65, 1e-3, 0.2)

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        for field in ("nu_mean_law", "nu_std_law", "read_noise_law"):
            label = f"PCMDevice.{field}"
            object.__setattr__(self, field, as_floats(getattr(self, field), label, length=4))
        check_clip_range(self.nu_mean_law, "PCMDevice.nu_mean_law")
        check_clip_range(self.nu_std_law, "PCMDevice.nu_std_law")
        if min(self.read_noise_law) < 0.0 or self.read_noise_law[2] == 0.0:
            raise ValueError(
                f"PCMDevice.read_noise_law is {list(self.read_noise_law)}, but coefficient, "
                "exponent and maximum must not be negative and the floor must be positive."
            )

    def fitted_programming_polynomial(self) -> tuple[tuple[float, ...], float]:
        """Return the fit at 25 microsiemens; see the base class."""
        return _PROGRAMMING_COEFFICIENTS_US, _FITTED_AT_US

    def exponent_statistics(self, g_relative: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two clipped logarithms; see the base class."""
        mean = clipped_logarithm(g_relative, *self.nu_mean_law)
        return mean, clipped_logarithm(g_relative, *self.nu_std_law)

    def read_noise_strength(self, g_relative: Tensor) -> Tensor:
        """Return the power law; see the base class."""
        return power_law_noise_strength(g_relative, *self.read_noise_law)


@register_device
@dataclass(frozen=True, kw_only=True)
class CustomDriftDevice(PowerLawDevice):
    """PCM with a user's table of drift exponents, interpolated linearly.

    ``CustomDriftDevice(g_table_us=(0, 25), nu_mean_table=(0.1, 0.05), nu_std_table=(0.04, 0.01))``

    Args:
        g_max_us: Largest conductance in microsiemens.
        prog_noise_scale: Factor on the programming noise; 0 switches it off.
        prog_coeff: Own polynomial of the programming noise, in microsiemens.
        prog_coeff_g_max_us: Conductance the polynomial was fitted at, in microsiemens.
        drift_scale: Factor on the drift exponents; 0 switches drift off.
        drift_spread_scale: Factor on the spread of the exponents alone.
        read_noise_scale: Factor on the accumulated 1/f noise; 0 switches it off.
        t_0_s: Seconds between programming and the first read.
        t_read_s: Seconds that one read takes.
        g_table_us: Conductances in microsiemens, strictly increasing.
        nu_mean_table: Mean exponent at these conductances.
        nu_std_table: Standard deviation of the exponent at these conductances, not negative.

    Source:
        Kind of table as in IBM/aihwkit, ``src/aihwkit/inference/noise/pcm.py``, custom drift;
        programming and read noise are those of ``PCMDevice``.
    """

    name: ClassVar[str] = "custom_drift"
    g_max_us: float = 25.0
    g_table_us: tuple[float, ...]
    nu_mean_table: tuple[float, ...]
    nu_std_table: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        table = as_floats(self.g_table_us, "CustomDriftDevice.g_table_us", minimum_length=2)
        object.__setattr__(self, "g_table_us", table)
        for field in ("nu_mean_table", "nu_std_table"):
            label = f"CustomDriftDevice.{field}"
            values = as_floats(getattr(self, field), label, length=len(table))
            object.__setattr__(self, field, values)
        if table[0] < 0.0 or any(a >= b for a, b in itertools.pairwise(table)):
            raise ValueError(
                f"CustomDriftDevice.g_table_us is {list(table)}, but it must be strictly "
                "increasing and not negative."
            )
        if min(self.nu_std_table) < 0.0:
            raise ValueError(
                f"CustomDriftDevice.nu_std_table is {list(self.nu_std_table)}, but a standard "
                "deviation must not be negative."
            )

    def check_converter(self, converter: ConductanceConverter) -> None:
        """Raise unless all targets lie inside the table; see the base class."""
        low_us, high_us = converter.conductance_range_us(self.g_max_us)
        if low_us < self.g_table_us[0] or high_us > self.g_table_us[-1]:
            raise ValueError(
                f"the converter uses {low_us} to {high_us} uS, but CustomDriftDevice.g_table_us "
                f"covers {self.g_table_us[0]} to {self.g_table_us[-1]} uS; extend the table or "
                "change g_max_us or g_min_us."
            )

    def fitted_programming_polynomial(self) -> tuple[tuple[float, ...], float]:
        """Return the fit of ``PCMDevice``; see the base class."""
        return _PROGRAMMING_COEFFICIENTS_US, _FITTED_AT_US

    def exponent_statistics(self, g_relative: Tensor) -> tuple[Tensor, Tensor]:
        """Return the interpolated tables; see the base class."""
        points = _like(self.g_table_us, g_relative)
        g_us = g_relative * self.g_max_us
        mean = interpolate_table(g_us, points, _like(self.nu_mean_table, g_relative))
        return mean, interpolate_table(g_us, points, _like(self.nu_std_table, g_relative))

    def read_noise_strength(self, g_relative: Tensor) -> Tensor:
        """Return the power law of ``PCMDevice``; see the base class."""
        return power_law_noise_strength(g_relative)


def _like(values: tuple[float, ...], tensor: Tensor) -> Tensor:
    return torch.tensor(values, dtype=tensor.dtype, device=tensor.device)

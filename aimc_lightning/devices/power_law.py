"""Shared skeleton of devices with polynomial programming noise, power-law drift and 1/f noise."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from aimc_lightning.devices.base import Device
from aimc_lightning.devices.checks import as_float, as_floats, check_numbers
from aimc_lightning.functional.drift import (
    accumulated_noise_growth,
    conductance_after_drift,
    draw_drift_exponents,
)
from aimc_lightning.functional.programming import add_conductance_noise, programming_noise_std


@dataclass(frozen=True, kw_only=True)
class PowerLawDevice(Device):
    r"""Programmed with polynomial noise, drifts as a power law, read with accumulated 1/f noise.

    .. math::
        g_\text{prog} = \max(g_T + \sigma_\text{prog} \xi, 0), \quad
        g_d = g_\text{prog} (t/t_0)^{-\nu}, \quad
        g = \max\big(g_d + g_d Q \sqrt{\ln\tfrac{t + t_r}{2 t_r}} \, \xi, 0\big)

    Subclasses give the fitted curves: exponents over ``g_T / g_max``, strength Q over
    ``g_prog / g_max``.

    Args:
        g_max_us: Largest conductance in microsiemens.
        prog_noise_scale: Factor on the programming noise; 0 switches it off.
        prog_coeff: Own polynomial of the programming noise over ``g_T / g_max``, ``c_0, c_1, ...``
            in microsiemens; ``None`` takes the fitted one.
        prog_coeff_g_max_us: Largest conductance the polynomial was fitted at, in microsiemens;
            ``None`` takes that of the fit, or ``g_max_us`` with an own polynomial.
        drift_scale: Factor on the drift exponents, mean and spread; 0 switches drift off.
        drift_spread_scale: Factor on the spread of the exponents alone; 0 gives every device its
            mean exponent.
        read_noise_scale: Factor on the accumulated 1/f noise; 0 switches it off.
        t_0_s: Seconds between programming and the first read.
        t_read_s: Seconds that one read takes.
    """

    g_max_us: float
    prog_noise_scale: float = 1.0
    prog_coeff: tuple[float, ...] | None = None
    prog_coeff_g_max_us: float | None = None
    drift_scale: float = 1.0
    drift_spread_scale: float = 1.0
    read_noise_scale: float = 1.0
    t_0_s: float = 20.0
    t_read_s: float = 250e-9

    def __post_init__(self) -> None:
        """Check the fields."""
        check_numbers(self, ["g_max_us", "t_0_s", "t_read_s"], positive=True)
        check_numbers(
            self, ["prog_noise_scale", "drift_scale", "drift_spread_scale", "read_noise_scale"]
        )
        label = type(self).__name__
        if self.prog_coeff is not None:
            object.__setattr__(
                self, "prog_coeff", as_floats(self.prog_coeff, f"{label}.prog_coeff")
            )
        if self.prog_coeff_g_max_us is not None:
            check_numbers(self, ["prog_coeff_g_max_us"], positive=True)
            as_float(self.prog_coeff_g_max_us, f"{label}.prog_coeff_g_max_us")

    @abstractmethod
    def fitted_programming_polynomial(self) -> tuple[tuple[float, ...], float]:
        """Return the fitted ``c_0, c_1, ...`` and the conductance they refer to, microsiemens."""

    @abstractmethod
    def exponent_statistics(self, g_relative: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the exponent, before scales and folding.

        Args:
            g_relative: Target over ``g_max_us``, any shape, not negative.

        Returns:
            Mean and standard deviation, each of the same shape, dimensionless.
        """

    @abstractmethod
    def read_noise_strength(self, g_relative: Tensor) -> Tensor:
        """Return the strength Q of the 1/f noise, relative to the drifted conductance.

        Args:
            g_relative: Conductance before drift over ``g_max_us``, any shape, not negative.

        Returns:
            Strength, same shape, dimensionless.
        """

    def programming_std_us(self, g_target_us: Tensor) -> Tensor:
        """Return the standard deviation of programming, with ``prog_noise_scale``.

        Args:
            g_target_us: Target conductance in microsiemens, any shape.

        Returns:
            Standard deviation in microsiemens, same shape.
        """
        coefficients_us, reference_us = self.programming_polynomial()
        std_us = programming_noise_std(g_target_us, coefficients_us, self.g_max_us, reference_us)
        return std_us if self.prog_noise_scale == 1.0 else std_us * self.prog_noise_scale

    def programming_polynomial(self) -> tuple[tuple[float, ...], float]:
        """Return ``c_0, c_1, ...`` in use and the conductance they refer to, in microsiemens."""
        if self.prog_coeff is None:
            coefficients_us, reference_us = self.fitted_programming_polynomial()
        else:
            coefficients_us, reference_us = self.prog_coeff, self.g_max_us
        if self.prog_coeff_g_max_us is not None:
            reference_us = self.prog_coeff_g_max_us
        return coefficients_us, reference_us

    def program(self, g_target_us: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the programmed conductance; see the base class."""
        if self.prog_noise_scale == 0.0:
            return g_target_us.clone()
        std_us = self.programming_std_us(g_target_us)
        return add_conductance_noise(g_target_us, std_us, generator=generator)

    def draw_drift(
        self, g_target_us: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return drift exponents drawn from the target; see the base class."""
        if self.drift_scale == 0.0:
            return torch.zeros_like(g_target_us)
        mean, std = self.exponent_statistics(g_target_us.abs() / self.g_max_us)
        if self.drift_spread_scale == 0.0:
            return mean.abs() * self.drift_scale
        return draw_drift_exponents(
            mean, std * self.drift_spread_scale, self.drift_scale, generator=generator
        )

    def read(
        self,
        g_prog_us: Tensor,
        nu: Tensor,
        g_target_us: Tensor,
        t_inference_s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the drifted conductance with 1/f noise; see the base class."""
        del g_target_us
        self.check_time(t_inference_s)
        drifted_us = conductance_after_drift(g_prog_us, nu, t_inference_s, self.t_0_s)
        growth = accumulated_noise_growth(t_inference_s + self.t_0_s, self.t_read_s)
        if self.read_noise_scale == 0.0:
            return drifted_us.clone()
        strength = self.read_noise_strength(g_prog_us.abs() / self.g_max_us)
        std_us = drifted_us * strength * (growth * self.read_noise_scale)
        return add_conductance_noise(drifted_us, std_us, generator=generator)

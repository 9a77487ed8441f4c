"""Resistive memory (ReRAM): two models fitted to published measurements."""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from aimc_lightning.devices.base import Device, register_device
from aimc_lightning.devices.checks import as_floats, check_numbers
from aimc_lightning.devices.converter_base import ConductanceConverter
from aimc_lightning.functional.drift import accumulated_noise_growth, require_time
from aimc_lightning.functional.programming import add_conductance_noise, programming_noise_std

_DAY_S = 86400.0


@register_device
@dataclass(frozen=True, kw_only=True)
class ReRamWan2022(Device):
    r"""``ReRamWan2022()``: no drift, but a spread around the target that grows with time.

    .. math:: g(t) = \max\Big(g_T + \sum_i c_i(t) \, (g_T / g_\max)^i \, \xi,\; 0\Big)

    Programming takes the polynomial of the first time. A read at one of the times draws the spread
    anew from the *target*; the programmed conductance is used at time 0 only. There is no
    separate 1/f noise; about 1 % of short-term noise is left to the forward pass.

    Args:
        g_max_us: Largest conductance in microsiemens. The polynomial, in microsiemens, is not
            rescaled with it.
        noise_scale: Factor on the spread; 0 switches it off.
        times_s: Seconds since programming with data, strictly increasing.
        coefficients_us: For each time ``c_0, c_1, ...`` in microsiemens.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/noise/reram.py``, read off the
        figures of Wan et al., Nature 2022.
    """

    name: ClassVar[str] = "reram_wan2022"
    g_max_us: float = 40.0
    noise_scale: float = 1.0
    times_s: tuple[float, ...] = (1.0, _DAY_S, 2 * _DAY_S)
    coefficients_us: tuple[tuple[float, ...], ...] = (
        (0.348, 16.030, -43.853, 45.393, -16.815),
        (0.701, 22.086, -50.773, 47.095, -16.458),
        (0.782, 20.274, -43.507, 37.062, -11.934),
    )

    def __post_init__(self) -> None:
        """Check the fields."""
        check_numbers(self, ["g_max_us"], positive=True)
        check_numbers(self, ["noise_scale"])
        times = as_floats(self.times_s, "ReRamWan2022.times_s")
        object.__setattr__(self, "times_s", times)
        if times[0] <= 0.0 or any(a >= b for a, b in itertools.pairwise(times)):
            raise ValueError(
                f"ReRamWan2022.times_s is {list(times)}, but it must be positive and increasing."
            )
        if len(self.coefficients_us) != len(times):
            raise ValueError(
                f"ReRamWan2022.coefficients_us has {len(self.coefficients_us)} polynomials, but "
                f"times_s has {len(times)} times; give one polynomial for each time."
            )
        coefficients = tuple(
            as_floats(row, f"ReRamWan2022.coefficients_us[{i}]")
            for i, row in enumerate(self.coefficients_us)
        )
        object.__setattr__(self, "coefficients_us", coefficients)

    def program(self, g_target_us: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the conductance as at the first time; see the base class."""
        return self._spread(g_target_us, 0, generator)

    def read(
        self,
        g_prog_us: Tensor,
        nu: Tensor,
        g_target_us: Tensor,
        t_inference_s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the conductance drawn anew around the target; see the base class."""
        del nu
        self.check_time(t_inference_s)
        if t_inference_s == 0.0:
            return g_prog_us.clone()
        return self._spread(g_target_us, self.times_s.index(float(t_inference_s)), generator)

    def check_time(self, t_inference_s: float) -> None:
        """Raise unless there is data for this time; see the base class."""
        require_time(t_inference_s)
        if t_inference_s != 0.0 and t_inference_s not in self.times_s:
            known = ", ".join(f"{time:g}" for time in self.times_s)
            raise ValueError(
                f"t_inference_s is {t_inference_s}, but ReRamWan2022 has data for {known} s only "
                "(and 0, right after programming)."
            )

    def _spread(self, g_target_us: Tensor, index: int, generator: torch.Generator | None) -> Tensor:
        if self.noise_scale == 0.0:
            return g_target_us.clone()
        std_us = programming_noise_std(g_target_us, self.coefficients_us[index], self.g_max_us)
        return add_conductance_noise(g_target_us, std_us * self.noise_scale, generator=generator)


@register_device
@dataclass(frozen=True, kw_only=True)
class ReRamCMO(Device):
    r"""``ReRamCMO()``: CMO/HfOx ReRAM; one device per weight, relaxing with the log of time.

    .. math::
        g_\text{prog} &= g_T + (c_0 + c_1 g_T) \xi \\
        g_d &= g_\text{prog} - 0.08900 \ln t + (0.04201 \ln t + 0.41183) \, \xi \\
        g &= \operatorname{clip}\Big(g_d + 0.02773 \log_{10} g_d
        \sqrt{\ln \tfrac{t + t_r}{2 t_r}} \, \xi,\; g_\min, g_\max\Big)

    with conductances in microsiemens and the time since programming in seconds, at least 1 s;
    at time 0 the programmed conductance is returned. Relaxation is drawn anew at each read.

    Args:
        g_max_us: Largest conductance in microsiemens.
        g_min_us: Smallest conductance in microsiemens; the converter must not go below it.
        acceptance_percent: Stop criterion of program-and-verify in percent of the target, 0.2 or 2.
        prog_noise_scale: Factor on the programming noise; 0 switches it off.
        drift_scale: Factor on the relaxation, mean and spread; 0 switches it off.
        drift_spread_scale: Factor on the spread of the relaxation alone.
        read_noise_scale: Factor on the read noise; 0 switches it off.
        t_read_s: Seconds that one read takes.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/noise/reram.py``, after Falcone et
        al. The logarithm in the read noise is taken of at least 1 microsiemens.
    """

    name: ClassVar[str] = "reram_cmo"
    g_max_us: float = 88.199997
    g_min_us: float = 9.0
    acceptance_percent: float = 0.2
    prog_noise_scale: float = 1.0
    drift_scale: float = 1.0
    drift_spread_scale: float = 1.0
    read_noise_scale: float = 1.0
    t_read_s: float = 1e-6

    _PROGRAMMING_US: ClassVar[dict[float, tuple[float, float]]] = {
        0.2: (0.00081107, 0.00106879),
        2.0: (0.0112185391, 0.01129027418),
    }
    _RELAXATION_MEAN_US: ClassVar[float] = -0.08900206
    _RELAXATION_STD_US: ClassVar[tuple[float, float]] = (0.04201137, 0.41183342)
    _READ_US: ClassVar[float] = 0.0277316483
    _FIRST_TIME_S: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_numbers(self, ["g_max_us", "acceptance_percent", "t_read_s"], positive=True)
        check_numbers(
            self,
            ["g_min_us", "prog_noise_scale", "drift_scale", "drift_spread_scale"],
        )
        check_numbers(self, ["read_noise_scale"])
        if self.g_min_us >= self.g_max_us:
            raise ValueError(
                f"ReRamCMO.g_min_us is {self.g_min_us}, but it must be below g_max_us "
                f"{self.g_max_us}."
            )
        if self.acceptance_percent not in self._PROGRAMMING_US:
            raise ValueError(
                f"ReRamCMO.acceptance_percent is {self.acceptance_percent}, but there is data for "
                "0.2 and 2 percent only."
            )

    def program(self, g_target_us: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the programmed conductance, not clipped; see the base class."""
        if self.prog_noise_scale == 0.0:
            return g_target_us.clone()
        offset, slope = self._PROGRAMMING_US[self.acceptance_percent]
        std_us = (g_target_us * slope + offset) * self.prog_noise_scale
        return add_conductance_noise(g_target_us, std_us, g_min_us=None, generator=generator)

    def read(
        self,
        g_prog_us: Tensor,
        nu: Tensor,
        g_target_us: Tensor,
        t_inference_s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the relaxed conductance with read noise; see the base class."""
        del nu, g_target_us
        self.check_time(t_inference_s)
        if t_inference_s == 0.0:
            return g_prog_us.clone()
        log_time = math.log(t_inference_s)
        slope, offset = self._RELAXATION_STD_US
        mean_us = self._RELAXATION_MEAN_US * log_time * self.drift_scale
        std_us = (slope * log_time + offset) * self.drift_scale * self.drift_spread_scale
        relaxed_us = add_conductance_noise(
            g_prog_us + mean_us, std_us, g_min_us=None, generator=generator
        )
        growth = accumulated_noise_growth(t_inference_s, self.t_read_s)
        strength_us = self._READ_US * growth * self.read_noise_scale
        return add_conductance_noise(
            relaxed_us,
            relaxed_us.clamp(min=1.0).log10() * strength_us,
            g_min_us=self.g_min_us,
            g_max_us=self.g_max_us,
            generator=generator,
        )

    def check_time(self, t_inference_s: float) -> None:
        """Raise unless the time is 0 or at least one second; see the base class."""
        require_time(t_inference_s)
        if 0.0 < t_inference_s < self._FIRST_TIME_S:
            raise ValueError(
                f"t_inference_s is {t_inference_s}, but ReRamCMO has data from 1 s on only "
                "(and 0, right after programming)."
            )

    def check_converter(self, converter: ConductanceConverter) -> None:
        """Raise if a target lies below the smallest conductance; see the base class."""
        low_us, _ = converter.conductance_range_us(self.g_max_us)
        if low_us < self.g_min_us:
            raise ValueError(
                f"the converter uses conductances from {low_us} uS, but ReRamCMO.g_min_us is "
                f"{self.g_min_us}; use SingleDevice(g_min_us={self.g_min_us})."
            )

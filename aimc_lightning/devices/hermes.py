"""Phase-change memory of the HERMES chip, with one or two devices per conductance."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from aimc_lightning.devices.base import register_device
from aimc_lightning.devices.power_law import PowerLawDevice
from aimc_lightning.functional.curves import clipped_logarithm, polynomial


@dataclass(frozen=True)
class _Branches:
    """Clipped logarithm below a relative conductance, polynomial from there on."""

    split: float
    low: tuple[float, float, float, float]
    high: tuple[float, ...]

    def __call__(self, g_relative: Tensor) -> Tensor:
        low = clipped_logarithm(g_relative, *self.low)
        return torch.where(g_relative < self.split, low, polynomial(g_relative, self.high))


@dataclass(frozen=True)
class _Fit:
    """Numbers of one programming method; conductances in microsiemens."""

    g_max_us: float
    t_0_s: float
    programming_us: tuple[float, ...]
    nu_std: _Branches
    strength: _Branches


_NU_MEAN = _Branches(0.0945, (-0.0387, -0.0182, 0.072, 0.13), (0.0736, -0.0126, -0.0436))
_FITS = {
    1: _Fit(
        g_max_us=10.35,
        t_0_s=200.0,
        programming_us=(0.15781817, 2.32443916, -2.16310839, 0.68841818),
        nu_std=_Branches(0.3039, (-0.0120, -0.0023, 0.0124, 0.04), (0.0104, 0.0116, -0.0165)),
        strength=_Branches(
            0.1591, (-0.0078, 0.0038, 0.0179, 0.04), (0.0088, 0.0768, -0.1352, 0.0664)
        ),
    ),
    2: _Fit(
        g_max_us=20.7,
        t_0_s=300.0,
        programming_us=(0.16603222, 4.71806468, -8.48101252, 4.68961419),
        nu_std=_Branches(0.3055, (-0.0117, -0.0057, 0.0091, 0.04), (0.0073, 0.0093, -0.0118)),
        strength=_Branches(
            0.16, (-0.0117, -0.0069, 0.015, 0.04), (0.0123, 0.0211, -0.0280, 0.0069)
        ),
    ),
}


@register_device
@dataclass(frozen=True, kw_only=True)
class HermesDevice(PowerLawDevice):
    """``HermesDevice(num_devices=2)``: memory of the IBM HERMES project chip.

    With two devices per conductance both are assumed to hold the same one, which gives more drift
    than on the chip, where the mapping is chosen with feedback.

    Args:
        g_max_us: Largest conductance in microsiemens, at most 20.7 (two devices) or 10.35 (one),
            which ``None`` stands for.
        prog_noise_scale: Factor on the programming noise; 0 switches it off.
        prog_coeff: Own polynomial of the programming noise, in microsiemens.
        prog_coeff_g_max_us: Conductance the polynomial was fitted at, in microsiemens; ``None``
            means the limits above for the fitted one and ``g_max_us`` for an own one.
        drift_scale: Factor on the drift exponents; 0 switches drift off.
        drift_spread_scale: Factor on the spread of the exponents alone.
        read_noise_scale: Factor on the accumulated 1/f noise; 0 switches it off.
        t_0_s: Seconds between programming and the first read; ``None`` stands for 300 (two
            devices) or 200 (one).
        t_read_s: Seconds that one read takes.
        num_devices: Devices per conductance, 1 or 2.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/noise/hermes.py``, after Le Gallo
        et al., Nature Electronics 2023, and Vasilopoulos et al., TED 2023 (two devices).
    """

    name: ClassVar[str] = "hermes"
    g_max_us: float = None  # type: ignore[assignment]  # a number once built
    t_0_s: float = None  # type: ignore[assignment]  # a number once built
    t_read_s: float = 512e-9
    num_devices: int = 2

    def __post_init__(self) -> None:
        """Fill in what depends on the number of devices and check the fields."""
        if isinstance(self.num_devices, bool) or self.num_devices not in _FITS:
            raise ValueError(
                f"HermesDevice.num_devices is {self.num_devices!r}, but the chip has 1 or 2 only."
            )
        fit = _FITS[self.num_devices]
        if self.g_max_us is None:
            object.__setattr__(self, "g_max_us", fit.g_max_us)
        if self.t_0_s is None:
            object.__setattr__(self, "t_0_s", fit.t_0_s)
        super().__post_init__()
        if self.g_max_us > fit.g_max_us:
            raise ValueError(
                f"HermesDevice.g_max_us is {self.g_max_us}, but the chip was characterised up to "
                f"{fit.g_max_us} uS with num_devices={self.num_devices}; lower g_max_us."
            )

    def fitted_programming_polynomial(self) -> tuple[tuple[float, ...], float]:
        """Return the cubic fit; see the base class."""
        fit = _FITS[self.num_devices]
        return fit.programming_us, fit.g_max_us

    def exponent_statistics(self, g_relative: Tensor) -> tuple[Tensor, Tensor]:
        """Return the piecewise fits; see the base class."""
        return _NU_MEAN(g_relative), _FITS[self.num_devices].nu_std(g_relative)

    def read_noise_strength(self, g_relative: Tensor) -> Tensor:
        """Return the piecewise fit; see the base class."""
        return _FITS[self.num_devices].strength(g_relative)

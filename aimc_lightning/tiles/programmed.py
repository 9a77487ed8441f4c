"""One programmed chip, tile by tile: conductances, their drift, and drift compensation."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_lightning.config import TileConfig
from aimc_lightning.functional import kernels
from aimc_lightning.functional.compensation import compensation_factor, compensation_readout
from aimc_lightning.functional.crossbar import (
    CrossbarWeights,
    Periphery,
    crossbar_weights,
)
from aimc_lightning.functional.managed import managed_codes
from aimc_lightning.functional.nonlinearity import calibrated_slope
from aimc_lightning.functional.product import LinearProduct, OneHotProduct, Product
from aimc_lightning.tiles.mapping import mapping_scale
from aimc_lightning.tiles.splitting import OutlierSplitting


class ProgrammedCrossbar(NamedTuple):
    """Devices of one crossbar right after programming, each tensor ``(out, in)``.

    Conductances in microsiemens in the converter's order, and the drift exponents that belong to
    this chip.
    """

    target_us: list[Tensor]
    programmed_us: list[Tensor]
    drift_exponent: list[Tensor]
    scale: Tensor
    weight: Tensor


class ProgrammedTile:
    """The crossbars of one tile as programmed on one chip.

    Args:
        weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units.
        periphery: Numbers of the signal chain without spread.
        config: Settings of the tile.
        out_sizes: Outputs of each crossbar.
        generator: Random numbers on the CPU.
        splitting: Which inputs have several rows; the chip keeps those it is programmed with.
    """

    def __init__(
        self,
        weight: Tensor,
        periphery: Periphery,
        config: TileConfig,
        out_sizes: list[int],
        generator: torch.Generator,
        splitting: OutlierSplitting | None = None,
    ) -> None:
        self.config = config
        self.splitting = copy.deepcopy(splitting)
        weight = weight if splitting is None else splitting.split_weights(weight)
        self.device = weight.device
        self.shape = weight.shape
        self.generator: torch.Generator | None = None
        logical = weight.detach().cpu()
        logical = logical if logical.dtype == torch.float64 else logical.float()
        self.mapping_scale = mapping_scale(logical, config.mapping, out_sizes)
        normalized = logical.flatten(1) / self.mapping_scale[:, None]
        self.crossbars = [self._program(part, generator) for part in normalized.split(out_sizes)]
        self.periphery = _with_column_spread(periphery, config, len(logical), generator)
        self.polarity = None
        if config.distortion.polarity_std > 0:
            xi = torch.randn(normalized.shape, generator=generator, dtype=normalized.dtype)
            self.polarity = 1 + config.distortion.polarity_std * xi
        references = normalized.split(out_sizes)
        if config.chip.compensation != "exact":
            references = tuple(crossbar.weight for crossbar in self.crossbars)
        self.baselines = [self._readout(i, w, generator) for i, w in enumerate(references)]
        self.set_time_(0.0, generator)

    def _program(self, weight: Tensor, generator: torch.Generator) -> ProgrammedCrossbar:
        device, converter = self.config.chip.device, self.config.chip.converter
        target, scale = converter.to_conductances(weight, device.g_max_us)
        drawn = [device.program_chip(g, generator=generator) for g in target]
        programmed, exponent = [g for g, _ in drawn], [nu for _, nu in drawn]
        back = converter.to_weights(programmed, scale, device.g_max_us)
        return ProgrammedCrossbar(target, programmed, exponent, scale, back)

    def _aged(
        self, crossbar: ProgrammedCrossbar, time_s: float, generator: torch.Generator
    ) -> Tensor:
        """Return the normalised weights of a crossbar at a time; 0 is right after programming."""
        device, converter = self.config.chip.device, self.config.chip.converter
        if time_s == 0:
            return crossbar.weight
        target, programmed, scale = crossbar.target_us, crossbar.programmed_us, crossbar.scale
        if self.config.chip.chain == "collapsed":
            # As the reference does: only the signed difference of a pair survives programming.
            programmed, scale = converter.to_conductances(crossbar.weight, device.g_max_us)
            target = programmed
        aged = [
            device.read(g, nu, goal, time_s, generator=generator)
            for g, nu, goal in zip(programmed, crossbar.drift_exponent, target, strict=True)
        ]
        return converter.to_weights(aged, scale, device.g_max_us)

    def _readout(self, index: int, weight: Tensor, generator: torch.Generator) -> Tensor | None:
        """Return the read-out of drift compensation: one-hot inputs through the analog chain."""
        kind = self.config.chip.compensation
        if kind == "none":
            return None
        start = sum(len(crossbar.weight) for crossbar in self.crossbars[:index])
        periphery = _columns(self.periphery, start, start + len(weight))
        weights = crossbar_weights(weight, periphery)
        inputs, product = _one_hot(weight, periphery)
        codes, factor = managed_codes(inputs, weights, periphery, product, generator=generator)
        output = codes * periphery.adc_step * (1.0 if factor is None else factor)
        return compensation_readout(output, per_column=kind == "column")

    def set_time_(self, time_s: float, generator: torch.Generator) -> None:
        """Let the chip age and measure its compensation factor.

        Args:
            time_s: Seconds since the end of programming, not negative.
            generator: Random numbers on the CPU for 1/f noise and the read-out; afterwards the
                products of this chip draw from a generator seeded by it.

        Raises:
            ValueError: If the device has no data for this time.
        """
        if time_s > 0:
            self.config.chip.device.check_time(time_s)
        parts, factors = [], []
        for index, crossbar in enumerate(self.crossbars):
            aged = self._aged(crossbar, time_s, generator)
            baseline = self.baselines[index]
            factor = torch.ones(len(aged), dtype=aged.dtype)
            if baseline is not None and (time_s > 0 or self.config.chip.compensation == "exact"):
                current = self._readout(index, aged, generator)
                assert current is not None
                factor = compensation_factor(baseline, current).expand(len(aged))
            parts.append(aged)
            factors.append(factor)
        weight = torch.cat(parts).to(self.device)
        #: Compensation factor per output, ``(out,)``, dimensionless.
        self.compensation = torch.cat(factors)
        self.output_scale = (self.mapping_scale * self.compensation).to(self.device)
        negative = None
        if self.polarity is not None:
            negative = (weight * self.polarity.to(self.device)).view(self.shape)
        self.weights: CrossbarWeights = kernels.derived_weights(
            weight.view(self.shape), self.periphery, negative
        )
        if self.splitting is not None:
            self.weights = self.splitting.add_copies(self.weights, self.periphery)
        seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))
        self.generator = torch.Generator(self.device).manual_seed(seed)


def _one_hot(weight: Tensor, p: Periphery) -> tuple[Tensor, Product]:
    """Return one-hot inputs and their product: the ones alone, where zeros stay exactly zero."""
    whole = p.input_noise_std > 0 or p.dac_stochastic
    if whole or p.noise_management != "none" or p.bound_management != "none":
        return torch.eye(weight.shape[1], dtype=weight.dtype), LinearProduct()
    return weight.new_ones(weight.shape[1], 1), OneHotProduct()


def _with_column_spread(
    periphery: Periphery, config: TileConfig, outputs: int, generator: torch.Generator
) -> Periphery:
    """Return the periphery of one chip: what differs from column to column is drawn once."""
    distortion, spread = config.distortion, config.noise.output_spread

    def normal() -> Tensor:
        return torch.randn(outputs, generator=generator)

    if spread > 0:
        periphery = periphery._replace(output_noise_factor=1 + spread * normal())
    if distortion.v_offset_std > 0:
        offset = (distortion.v_offset_std * normal()).clamp_(min=0)
        periphery = periphery._replace(v_offset=offset)
    if periphery.steepness is not None and distortion.out_nonlinearity_std > 0:
        bound = config.adc.bound or 1.0
        steepness = periphery.steepness * (1 + distortion.out_nonlinearity_std * normal())
        slope = calibrated_slope(
            steepness, distortion.r_series, distortion.slope_calibration, bound
        )
        periphery = periphery._replace(steepness=steepness.abs(), slope=slope)
    return periphery


def _columns(periphery: Periphery, start: int, stop: int) -> Periphery:
    """Return the periphery of some of the columns."""

    def cut(values: Tensor | None) -> Tensor | None:
        return values if values is None or len(values) == 1 else values[start:stop]

    return periphery._replace(
        v_offset=cut(periphery.v_offset),
        steepness=cut(periphery.steepness),
        output_noise_factor=cut(periphery.output_noise_factor),
    )

"""Settings of the signal chain of a tile. ``None`` or zero switches an effect off."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, get_args

from aimc_lightning.checks import check_choice, check_count, check_numbers, check_range
from aimc_lightning.functional.noise import ReadNoiseType
from aimc_lightning.functional.quantize import quantizer_steps
from aimc_lightning.functional.range_management import BoundManagement, NoiseManagement


@dataclass(frozen=True)
class DACConfig:
    """Digital-to-analog converters at the inputs of a tile.

    Example:
        >>> DACConfig(bits=6).steps
        62

    Attributes:
        bits: Resolution including the sign, 2 to 24; ``None`` does not quantise.
        stochastic: Round stochastically.
        asymmetry: Relative loss of negative inputs, 0 to 1.
    """

    bits: int | None = 8
    stochastic: bool = False
    asymmetry: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_range(self, "asymmetry", 0, 1)
        if self.bits is not None:
            quantizer_steps(self.bits)

    @property
    def steps(self) -> int | None:
        """Number of converter steps, ``None`` without quantisation."""
        return None if self.bits is None else quantizer_steps(self.bits)


@dataclass(frozen=True)
class ADCConfig:
    """Analog-to-digital converters at the outputs of a tile.

    Example:
        >>> ADCConfig(bits=6, bound=12.0).steps
        62

    Attributes:
        bits: Resolution including the sign, 2 to 24; ``None`` does not quantise.
        bound: Largest output; one full input on one full weight gives 1. ``None`` does not clip,
            and needs ``bits=None``.
        stochastic: Round stochastically.
        asymmetry: Relative loss of negative outputs, 0 to 1.
    """

    bits: int | None = 8
    bound: float | None = 10.0
    stochastic: bool = False
    asymmetry: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_range(self, "asymmetry", 0, 1)
        check_range(self, "bound", 1e-9)
        if self.bits is not None:
            quantizer_steps(self.bits)
            if self.bound is None:
                raise ValueError(
                    f"ADCConfig.bits is {self.bits} but bound is None: a converter with a "
                    "resolution needs a range; set bound, or bits to None."
                )

    @property
    def steps(self) -> int | None:
        """Number of converter steps, ``None`` without quantisation."""
        return None if self.bits is None else quantizer_steps(self.bits)


@dataclass(frozen=True)
class InputRangeConfig:
    """How the digital input is scaled to the range of the DAC.

    Example:
        >>> InputRangeConfig(mode="fixed", initial=2.0).mode
        'fixed'

    Attributes:
        mode: ``learned``: set from the first batches, then trained; ``fixed``: stays at
            ``initial``; ``dynamic``: largest magnitude of each vector; ``off``: range 1.
        initial: Range before training, in units of the layer's input, positive.
        init_rule: How it is set: ``mvm_error``: so that the error of the product is smallest,
            clipping by the ADC included; ``std``: by the spread of the inputs (IBM/aihwkit, with a
            decay of 0.001).
        init_times_s: Seconds after programming at which ``mvm_error`` looks at the error, whose
            mean counts. Small aged currents want a narrower range than fresh ones, which clip.
        init_batches: Training batches from which a learned range is set.
        centred: Whether the mean of each input is subtracted digitally before the DAC; its product
            with the weights as they should be is added digitally. The crossbar's errors then do
            not shift the mean of the outputs. Needs ``learned``; recurrent matrices, whose inputs
            come step by step, stay as they are (zero points: Jacob et al., CVPR 2018; per channel:
            Wei et al., Outlier Suppression+, EMNLP 2023).
        init_std_alpha: Range in standard deviations of the batch, for ``std``.
        decay: Pull towards a narrower range while few inputs are clipped, not negative.
        min_percentage: Share of inputs inside the range above which ``decay`` acts.
        noise_management: Further factor per vector (IBM/aihwkit, ``parameters/enums.py``).
        nm_threshold: Constant or cap of the noise management.
        bound_management: Repeat with smaller inputs when an output hits the bound.
    """

    mode: Literal["learned", "fixed", "dynamic", "off"] = "learned"
    initial: float = 3.0
    init_rule: Literal["mvm_error", "std"] = "mvm_error"
    init_times_s: tuple[float, ...] = (0.0,)
    init_batches: int = 100
    centred: bool = False
    init_std_alpha: float = 3.0
    decay: float = 0.0
    min_percentage: float = 0.95
    noise_management: NoiseManagement = "none"
    nm_threshold: float = 0.0
    bound_management: BoundManagement = "none"

    def __post_init__(self) -> None:
        """Check the fields."""
        check_numbers(self, "init_times_s", 0, "numbers of seconds from 0")
        check_choice(self, "mode", ("learned", "fixed", "dynamic", "off"))
        check_choice(self, "init_rule", ("mvm_error", "std"))
        check_choice(self, "noise_management", get_args(NoiseManagement))
        check_choice(self, "bound_management", get_args(BoundManagement))
        check_range(self, "initial", 1e-12)
        check_count(self, "init_batches")
        check_range(self, "init_std_alpha", 1e-12)
        check_range(self, "decay", 0)
        check_range(self, "min_percentage", 0, 1)
        check_range(self, "nm_threshold", 0)
        if self.centred and (self.mode != "learned" or self.per_vector):
            raise ValueError(
                "InputRangeConfig.centred learns the mean of the inputs with one range for all; it "
                f"needs mode 'learned' without management per vector, got mode {self.mode!r}, "
                f"noise_management {self.noise_management!r} and bound_management "
                f"{self.bound_management!r}."
            )
        if self.noise_management == "constant" and self.nm_threshold <= 0:
            raise ValueError(
                "InputRangeConfig.noise_management 'constant' divides by nm_threshold, which is "
                f"{self.nm_threshold}; set it above 0."
            )
        if self.mode == "dynamic" and self.noise_management not in ("none", "abs_max"):
            raise ValueError(
                "InputRangeConfig.mode 'dynamic' is noise management 'abs_max'; it cannot be "
                f"combined with {self.noise_management!r}. Use mode 'off' for that."
            )

    @property
    def per_vector(self) -> bool:
        """Whether each input vector has a factor of its own (convolutions are then unfolded)."""
        return (
            self.mode == "dynamic"
            or self.noise_management != "none"
            or self.bound_management != "none"
        )


@dataclass(frozen=True)
class ForwardNoiseConfig:
    """Noise drawn anew in each product, in training and in evaluation.

    All standard deviations are in units where one full input on one full weight gives 1.

    Example:
        >>> ForwardNoiseConfig(output_std=0.0, read_std=0.0).input_std
        0.0

    Attributes:
        output_std: Additive noise before the ADC.
        output_spread: Relative spread of ``output_std`` from column to column, fixed per tile.
        read_std: Short-term read noise of a full weight.
        read_type: ``pcm`` grows with the root of the weight, ``constant`` is equal for all.
        input_std: Additive noise after the DAC.
    """

    output_std: float = 0.04
    output_spread: float = 0.0
    read_std: float = 0.0175
    read_type: ReadNoiseType = "pcm"
    input_std: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("output_std", "output_spread", "read_std", "input_std"):
            check_range(self, name, 0)
        check_choice(self, "read_type", get_args(ReadNoiseType))


@dataclass(frozen=True)
class IRDropConfig:
    """Voltage drop along the wires, static approximation.

    Example:
        >>> round(IRDropConfig().g_ratio, 2)
        571428.57

    Attributes:
        scale: Multiple of the effect; 0 switches it off.
        r_wire_ohm: Resistance of the wire between two cells, in ohm.
        g_unit_us: Conductance that stands for a full weight in the ratio, in microsiemens.
    """

    scale: float = 1.0
    r_wire_ohm: float = 0.35
    g_unit_us: float = 5.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_range(self, "scale", 0)
        check_range(self, "r_wire_ohm", 1e-12)
        check_range(self, "g_unit_us", 1e-12)

    @property
    def g_ratio(self) -> float:
        """Conductance of one wire segment over that of a device, dimensionless."""
        return 1.0 / (self.r_wire_ohm * self.g_unit_us * 1e-6)


@dataclass(frozen=True)
class DistortionConfig:
    """Nonidealities that the standard model leaves out and a sensitivity study varies.

    Source: IBM/aihwkit, ``src/aihwkit/simulator/parameters/io.py``.

    Example:
        >>> DistortionConfig(out_nonlinearity=0.1).slope_calibration
        0.0

    Attributes:
        out_nonlinearity: Compression of a full-scale output (S-shape); 0 is linear.
        out_nonlinearity_std: Relative spread from column to column, fixed per tile.
        slope_calibration: Share of the bound at which the slope is calibrated.
        r_series: Series resistance, dimensionless.
        v_offset_std: Spread of the voltage offset from column to column, fixed per tile.
        v_offset_w_min: Weight of the reference column of the offset; 0: none.
        polarity_std: Relative difference of each device when read in the negative direction;
            positive and negative inputs then take a pass each.
    """

    out_nonlinearity: float = 0.0
    out_nonlinearity_std: float = 0.0
    slope_calibration: float = 0.0
    r_series: float = 0.0
    v_offset_std: float = 0.0
    v_offset_w_min: float = -1.0
    polarity_std: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        for item in dataclasses.fields(self):
            check_range(self, item.name, -math.inf if item.name == "v_offset_w_min" else 0)

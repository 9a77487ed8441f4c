"""Settings of mapping, training noise, clipping and chips. ``None`` or zero is off."""

from dataclasses import dataclass
from typing import Literal, get_args

from aimc_lightning.checks import check_choice, check_count, check_numbers, check_range
from aimc_lightning.devices.base import Device
from aimc_lightning.devices.converter_base import ConductanceConverter
from aimc_lightning.devices.converters import ShapedPair, SinglePair
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.functional.noise import PCM_COEFFICIENTS_US, WeightNoiseType


@dataclass(frozen=True)
class MappingConfig:
    """How a weight matrix is cut into tiles and scaled to normalised weights.

    Example:
        >>> MappingConfig(max_inputs=256).max_outputs
        512

    Attributes:
        max_inputs: Rows of a crossbar; 0 is no limit.
        max_outputs: Columns of a crossbar; 0 is no limit.
        weight_scaling: ``column``: each column uses the whole conductance range; ``tile``: one
            scale for a tile.
        omega: Normalised weight given to the largest weight.
        learn_out_scale: Train a digital factor per ``column`` or ``tile``; ``None`` trains none.
        conv_split: ``channel`` cuts convolutions between channels and runs them as native
            convolutions; ``unfold`` cuts the unfolded patch anywhere, as the default layer of
            IBM/aihwkit.
        split_outliers: Whether idle rows of a tile repeat its largest inputs, each row with its
            share, so that outliers do not widen the input range of all. At most as many rows
            again as there are inputs; not in grouped convolutions and recurrent matrices. Needs a
            learned range, with whose first batches they are chosen. See
            :class:`~aimc_lightning.tiles.splitting.OutlierSplitting`.
    """

    max_inputs: int = 512
    max_outputs: int = 512
    weight_scaling: Literal["column", "tile"] = "column"
    omega: float = 1.0
    learn_out_scale: Literal["column", "tile"] | None = "column"
    conv_split: Literal["channel", "unfold"] = "channel"
    split_outliers: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("max_inputs", "max_outputs"):
            check_count(self, name)
        check_choice(self, "weight_scaling", ("column", "tile"))
        check_choice(self, "learn_out_scale", ("column", "tile", None))
        check_choice(self, "conv_split", ("channel", "unfold"))
        check_range(self, "omega", 1e-9, 1)
        if self.split_outliers and self.max_inputs == 0:
            raise ValueError(
                "MappingConfig.split_outliers fills the idle rows of a crossbar, and max_inputs = "
                "0 sets no number of rows; set max_inputs, e.g. 512."
            )


@dataclass(frozen=True)
class WeightNoiseConfig:
    """Noise on the weights during hardware-aware training; never in evaluation.

    Example:
        >>> WeightNoiseConfig(type="additive", std=0.06).drop_connect
        0.0

    Attributes:
        type: Law of the noise, see :func:`~aimc_lightning.functional.noise.noisy_weight`; or
            ``device``: the weights of a freshly programmed chip with the device, converter and
            compensation of ``TileConfig.chip``, aged to ``t_inference_s``, see
            :func:`~aimc_lightning.tiles.device_noise.device_weight_noise`.
        std: Standard deviation; for ``pcm`` the multiple of the standard programming noise, for
            ``device`` the multiple of the chip's deviation (1 is the chip as evaluated).
        drop_connect: Chance that a weight is set to zero.
        resolution: Step of the discretising types, relative to the largest weight.
        coefficients: Polynomial of the types ``pcm``, ``programming`` and ``polynomial``.
        t_inference_s: Time for which ``pcm`` adds the spread of drift and 1/f noise (0: none),
            and to which the chips of ``device`` age, in seconds.
        draw: ``forward``: anew in each forward pass; ``step``: kept until the optimizer stepped,
            which callback, strategy or ``redraw_weight_noise_`` tell.
    """

    type: WeightNoiseType | Literal["device"] = "pcm"
    std: float = 3.0
    drop_connect: float = 0.0
    resolution: float = 0.0
    coefficients: tuple[float, ...] = PCM_COEFFICIENTS_US
    t_inference_s: float = 0.0
    draw: Literal["forward", "step"] = "forward"

    def __post_init__(self) -> None:
        """Check the fields."""
        check_numbers(self, "coefficients")
        check_choice(self, "type", (*get_args(WeightNoiseType), "device"))
        check_choice(self, "draw", ("forward", "step"))
        check_range(self, "std", 0)
        check_range(self, "drop_connect", 0, 1)
        check_range(self, "resolution", 0)
        check_range(self, "t_inference_s", 0)
        if self.type.startswith(("discretize", "dorefa")) and self.resolution == 0:
            raise ValueError(
                f"WeightNoiseConfig.type {self.type!r} needs a resolution above 0, for example "
                "resolution=1/127."
            )


@dataclass(frozen=True)
class ClipConfig:
    """Clipping of weights after each optimizer step.

    Example:
        >>> ClipConfig(type="gaussian", sigma=2.5).value is None
        True

    Attributes:
        type: ``fixed``: to ``value``; ``gaussian``: to ``sigma`` standard deviations of the tile;
            ``channel_max``: to the mean over columns of the largest weight; ``None``: not at all.
        sigma: Standard deviations kept by ``gaussian``.
        value: Limit of ``fixed`` in normalised weights; a cap for the other types. Not below
            ``MappingConfig.omega``, where the scale that is found anew in each step puts the
            largest weight; ``fixed`` therefore only states that no weight exceeds the limit.
    """

    type: Literal["fixed", "gaussian", "channel_max"] | None = None
    sigma: float = 2.5
    value: float | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check_choice(self, "type", ("fixed", "gaussian", "channel_max", None))
        check_range(self, "sigma", 1e-6)
        check_range(self, "value", 1e-9)
        if self.type == "fixed" and self.value is None:
            raise ValueError("ClipConfig.type 'fixed' needs a value, for example value=1.0.")


@dataclass(frozen=True)
class ChipConfig:
    """How a chip is programmed, ages and is compensated; used in evaluation alone.

    Example:
        >>> ChipConfig(device=PCMDevice(drift_scale=2.0)).compensation
        'global'

    Attributes:
        device: Memory device; ``None`` stands for ``PCMDevice()``.
        converter: How weights become conductances; ``None`` stands for ``SinglePair()``.
        chain: ``pair`` keeps both conductances of a pair; ``collapsed`` turns programmed
            conductances back into weights before drift, as IBM/aihwkit does.
        compensation: Drift compensation: ``global``: one factor per tile from a read-out;
            ``exact``: the same against the ideal weights; ``column``: one factor per column;
            ``none``.
    """

    # No instances as defaults: on a command line their values, as 25 uS, would be handed on to any
    # other class that is chosen.
    device: Device = None  # type: ignore[assignment]  # a device once built
    converter: ConductanceConverter = None  # type: ignore[assignment]  # a converter once built
    chain: Literal["pair", "collapsed"] = "pair"
    compensation: Literal["global", "exact", "column", "none"] = "global"

    def __post_init__(self) -> None:
        """Fill in device and converter and check the fields."""
        if self.device is None:
            object.__setattr__(self, "device", PCMDevice())
        if self.converter is None:
            object.__setattr__(self, "converter", SinglePair())
        check_choice(self, "chain", ("pair", "collapsed"))
        check_choice(self, "compensation", ("global", "exact", "column", "none"))
        if not isinstance(self.device, Device):
            raise TypeError(f"ChipConfig.device must be a Device, got {self.device!r}.")
        if not isinstance(self.converter, ConductanceConverter):
            raise TypeError(
                f"ChipConfig.converter must be a ConductanceConverter, got {self.converter!r}."
            )
        if self.chain == "collapsed" and isinstance(self.converter, ShapedPair):
            raise ValueError(
                "ChipConfig.chain 'collapsed' converts weights a second time, after programming, "
                "which would apply the curve of a ShapedPair twice; use chain='pair'."
            )
        self.device.check_converter(self.converter)

"""Families of whole layers: several tiles, convolutions, the standard model, error over time."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.forward_config import (
    ADCConfig,
    DACConfig,
    ForwardNoiseConfig,
    InputRangeConfig,
    IRDropConfig,
)
from aimc_lightning.functional.quantize import quantizer_steps
from aimc_lightning.nn.base import program_, set_time_, unprogram_
from aimc_lightning.nn.conv import AnalogConv2d
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.presets import get_preset
from aimc_lightning.tile_config import MappingConfig
from tests.golden.compare import Check, Moments, converted, exact
from tests.golden.vector import UnknownSetting, Vector

_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_STANDARD = re.compile(rf"standard, noise off, ir_drop {_NUMBER}, g_ratio {_NUMBER}")
_STANDARD_CHIP = re.compile(
    rf"standard: (\d+) DAC/ADC steps, out_bound {_NUMBER}, out_noise {_NUMBER}, "
    rf"PCM read noise {_NUMBER}, IR drop {_NUMBER}, global drift compensation, columnwise scaling"
)
_CHIPS = 40


def fwd_linear(vector: Vector) -> Iterator[Check]:
    """Linear layer over several tiles."""
    vector.expect("noise", "off")
    digital = _linear(vector, (vector.integer("out"), vector.integer("in")))
    layer = AnalogLinear.from_digital(digital, _config(vector)).eval()
    yield from _forward(vector, layer, digital)
    scales = torch.cat([_mapping_scales(layer, k) for k in range(len(layer.analog.tiles))])
    yield exact("tile_scales", scales, vector.array("tile_scales"))


def fwd_standard(vector: Vector) -> Iterator[Check]:
    """The standard preset without random noise."""
    match = _STANDARD.fullmatch(vector.text("preset"))
    if match is None:
        raise UnknownSetting(f"preset is {vector.text('preset')!r}")
    standard = get_preset("standard_pcm")
    unit_us = standard.ir_drop.g_unit_us
    drop = IRDropConfig(float(match[1]), 1e6 / (float(match[2]) * unit_us), unit_us)
    config = _config(vector).with_values({"ir_drop": drop})
    digital = _linear(vector, None)
    yield from _forward(vector, AnalogLinear.from_digital(digital, config).eval(), digital)


def fwd_conv(vector: Vector) -> Iterator[Check]:
    """Two-dimensional convolution, cut in both ways."""
    vector.expect("noise", "off")
    splits = {"unfold_split": "unfold", "channel_split": "channel"}
    split = splits.get(vector.text("split"))
    if split is None:
        raise UnknownSetting(f"split is {vector.text('split')!r}")
    weight, bias = vector.tensor("w"), vector.tensor("b")
    kernel = vector.integer("kernel")
    shape = (vector.integer("out_channels"), vector.integer("in_channels"), kernel, kernel)
    if tuple(weight.shape) != shape:
        raise UnknownSetting(f"w has shape {tuple(weight.shape)}, the config says {shape}")
    digital = nn.Conv2d(
        shape[1],
        shape[0],
        kernel,
        stride=vector.integer("stride"),
        padding=vector.integer("padding"),
        dilation=vector.integer("dilation", 1),
    )
    digital.weight.data, digital.bias.data = weight, bias
    config = _config(vector).with_values({"mapping.conv_split": split})
    yield from _forward(vector, AnalogConv2d.from_digital(digital, config).eval(), digital)


def mvm_error(vector: Vector) -> Iterator[Check]:
    """Relative error of one tile with everything on, over time."""
    # The settings w and x name the distributions; what counts are the arrays of these names.
    match = _STANDARD_CHIP.fullmatch(vector.text("preset"))
    if match is None:
        raise UnknownSetting(f"preset is {vector.text('preset')!r}")
    steps, bound, out_noise, read_noise, drop = (float(value) for value in match.groups())
    config = get_preset("standard_pcm").with_values(
        {
            **_converters(int(steps), int(steps), bound),
            "input_range": InputRangeConfig(mode="fixed", initial=vector.number("input_range")),
            "noise": ForwardNoiseConfig(output_std=out_noise, read_std=read_noise),
            "ir_drop.scale": drop,
            "chip.chain": "collapsed",
        }
    )
    digital = _linear(vector, (vector.integer("out_size"), vector.integer("in_size")))
    layer = AnalogLinear.from_digital(digital, config).eval()
    yield from _errors_over_time(vector, layer, digital)


def _errors_over_time(vector: Vector, layer: AnalogLinear, digital: nn.Linear) -> Iterator[Check]:
    x = vector.tensor("x")
    with torch.no_grad():
        ideal = digital.double()(x.double())
        digital.float()

        def error() -> float:
            deviation = (layer(x).double() - ideal).norm(dim=1).mean()
            return float(deviation / ideal.norm(dim=1).mean())

        plain = np.array([[error()] for _ in range(_CHIPS)])
        times = vector.array("t_inference")
        aged = []
        for seed in range(_CHIPS):
            program_(layer, seed)
            row = []
            for time_s in times:
                set_time_(layer, float(time_s), seed)
                row.append(error())
            aged.append(row)
        unprogram_(layer)
    golden = vector.array("error_no_programming").reshape(1)
    yield Moments.of(plain).mean_check("error without programming", golden, 1)
    repeats = vector.integer("repeats")
    mean, std = vector.array("error_mean"), vector.array("error_std")
    yield from Moments.of(np.array(aged)).checks("error", mean, std, repeats)


def _linear(vector: Vector, shape: tuple[int, int] | None) -> nn.Linear:
    weight = vector.tensor("w")
    if shape is not None and tuple(weight.shape) != shape:
        raise UnknownSetting(f"w has shape {tuple(weight.shape)}, the config says {shape}")
    digital = nn.Linear(weight.shape[1], weight.shape[0], bias="b" in vector)
    digital.weight.data = weight
    if digital.bias is not None:
        digital.bias.data = vector.tensor("b")
    return digital


def _config(vector: Vector) -> TileConfig:
    """Return the config of the forward families, every effect off that they do not name."""
    columns = vector.flag("weight_scaling_columnwise")
    mapping = MappingConfig(
        max_inputs=vector.integer("max_input_size"),
        max_outputs=vector.integer("max_output_size"),
        weight_scaling="column" if columns else "tile",
        omega=vector.number("weight_scaling_omega", 1.0),
        learn_out_scale=None,
    )
    ranges = InputRangeConfig(mode="fixed", initial=vector.number("input_range"))
    steps = vector.integer("dac_steps"), vector.integer("adc_steps")
    converters = _converters(*steps, vector.number("out_bound"))
    return get_preset("ideal").with_values(
        {**converters, "input_range": ranges, "mapping": mapping}
    )


def _converters(dac_steps: int, adc_steps: int, bound: float) -> dict[str, Any]:
    adc = ADCConfig(bits=_bits(adc_steps), bound=bound)
    return {"dac": DACConfig(bits=_bits(dac_steps)), "adc": adc}


def _bits(steps: int) -> int:
    bits = (steps + 2).bit_length() - 1
    if quantizer_steps(bits) != steps:
        raise UnknownSetting(f"{steps} steps are not those of a whole number of bits")
    return bits


def _forward(
    vector: Vector, layer: AnalogLinear | AnalogConv2d, digital: nn.Module
) -> Iterator[Check]:
    array = layer.analog
    rows = [size * array.kernel_size for size in array.in_sizes]
    yield exact("in_sizes", rows, vector.array("in_sizes").astype(np.float64), 0.0)
    yield exact("out_sizes", array.out_sizes, vector.array("out_sizes").astype(np.float64), 0.0)
    x = vector.tensor("x")
    with torch.no_grad():
        yield exact("y_fp", digital(x), vector.array("y_fp"))
        y = layer(x)
    scales = torch.stack([_mapping_scales(layer, k) for k in range(len(array.tiles))])
    step = scales.amax(0) * array.config.input_range.initial * array.tiles[0].periphery.adc_step
    shape = (-1, *(1,) * (y.dim() - 2)) if isinstance(digital, nn.Conv2d) else (-1,)
    yield converted("y", y, vector.array("y"), step.double().numpy().reshape(shape))


def _mapping_scales(layer: AnalogLinear | AnalogConv2d, tile: int) -> torch.Tensor:
    parts = layer.analog.weight_parts(layer.crossbar_weight())
    return layer.analog.tiles[tile].prepare(parts[tile]).mapping_scale


LAYER_FAMILIES: dict[str, Callable[[Vector], Iterator[Check]]] = {
    "fwd_linear": fwd_linear,
    "fwd_conv": fwd_conv,
    "fwd_standard": fwd_standard,
    "mvm_error": mvm_error,
}

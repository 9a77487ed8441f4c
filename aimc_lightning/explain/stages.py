"""A tile's settings in words: each stage in its order, in units of a designer, with source."""

from typing import NamedTuple

import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.ir_drop import subtract_ir_drop_
from aimc_lightning.presets import get_preset

_PAPER = "Rasch et al., Nat. Commun. 14, 5282 (2023)"
_PRESET = "aihwkit: StandardHWATrainingPreset"
_FORWARD = "aihwkit: rpu_forward_backward_pass.cpp"


class Stage(NamedTuple):
    """One stage of the chain: where it acts, how it is set, what that means, and who says so."""

    part: str
    name: str
    setting: str
    meaning: str
    source: str


def explain(config: TileConfig | str) -> list[Stage]:
    """Return every stage of a tile in the order in which a signal meets it.

    Stages that are off are listed, too, so that nobody has to ask whether an effect is on.

    Args:
        config: Settings, or the name of a preset.

    Raises:
        ValueError: If the preset is unknown.

    Example:
        >>> [stage.setting for stage in explain("standard_pcm") if stage.name == "DAC"]
        ['8 bit']
    """
    tile = get_preset(config) if isinstance(config, str) else config
    return [*_input_stages(tile), *_crossbar_stages(tile), *_output_stages(tile),
            *_training_stages(tile), *_chip_stages(tile)]  # fmt: skip


def _input_stages(tile: TileConfig) -> list[Stage]:
    ranges, dac = tile.input_range, tile.dac
    spread = f"{ranges.init_std_alpha:g} standard deviations"
    start = spread if ranges.init_rule == "std" else "the smallest error of the product"
    meanings = {
        "learned": f"starts at {ranges.initial:g} (units of the layer's input), is set from the "
        f"first {ranges.init_batches} training batches to {start}, then trained",
        "fixed": f"inputs beyond +-{ranges.initial:g} (units of the layer's input) are clipped",
        "dynamic": "the largest magnitude of each input vector",
        "off": "inputs are taken in units of the DAC's range",
    }
    rows = [
        *_before_the_range(tile),
        Stage("input", "input range", ranges.mode, meanings[ranges.mode], _PRESET),
    ]
    if ranges.noise_management != "none" or ranges.bound_management != "none":
        rows.append(
            Stage(
                "input", "range management",
                f"noise: {ranges.noise_management}, bound: {ranges.bound_management}",
                "each vector has a factor of its own; the product may be repeated", _FORWARD,
            )
        )  # fmt: skip
    if dac.steps is None:
        rows.append(Stage("input", "DAC", "off", "inputs are not quantised", _PRESET))
    else:
        rounding = ", stochastic rounding" if dac.stochastic else ""
        rows.append(
            Stage(
                "input", "DAC", f"{dac.bits} bit{rounding}",
                f"{dac.steps + 1} levels, one step is {100 / dac.steps:.3g} % of the full range "
                "-c..c", _PRESET,
            )
        )  # fmt: skip
    asymmetry = f"negative inputs are {100 * dac.asymmetry:g} % smaller"
    rows.append(_optional("input", "input asymmetry", dac.asymmetry, asymmetry))
    std = tile.noise.input_std
    rows.append(_optional("input", "input noise", std, f"{100 * std:g} % of the largest input"))
    return rows


def _before_the_range(tile: TileConfig) -> list[Stage]:
    return [
        _switch(
            "centring",
            tile.input_range.centred,
            "the mean of each input is subtracted digitally, its product with the ideal weights "
            "added",
            "inputs keep their mean",
            "zero points: Jacob et al., CVPR 2018",
        ),
        _switch(
            "outlier splitting",
            tile.mapping.split_outliers,
            "idle rows of a tile repeat its largest inputs, each with its share",
            "each input has one row",
            "outlier channel splitting: Zhao et al., ICML 2019",
        ),
    ]


def _switch(name: str, on: bool, if_on: str, if_off: str, source: str) -> Stage:
    return Stage("input", name, "on" if on else "off", if_on if on else if_off, source)


def _crossbar_stages(tile: TileConfig) -> list[Stage]:
    mapping, noise, distortion = tile.mapping, tile.noise, tile.distortion
    rows, columns = mapping.max_inputs or "any", mapping.max_outputs or "any"
    law = (
        "grows with the root of the weight" if noise.read_type == "pcm" else "equal for all weights"
    )
    return [
        Stage(
            "crossbar", "product", f"tiles of {rows} x {columns}",
            f"larger layers are cut into nearly equal parts, partial sums are added digitally; one "
            f"scale per {mapping.weight_scaling}, its largest weight becomes {mapping.omega:g}",
            f"{_PAPER}; {_PRESET}",
        ),
        _optional("crossbar", "IR drop", tile.ir_drop.scale, _ir_drop_meaning(tile)),
        _optional("crossbar", "voltage offset", distortion.v_offset_std, "spread over columns"),
        _optional(
            "crossbar", "series resistance", distortion.r_series, "compresses large outputs"
        ),
        _optional(
            "crossbar", "read polarity", distortion.polarity_std,
            "devices differ when read in the negative direction; two passes per product",
        ),
        _optional(
            "crossbar", "short-term read noise", noise.read_std,
            f"{100 * noise.read_std:g} % of a full weight, new in each product, {law}",
        ),
    ]  # fmt: skip


def _ir_drop_meaning(tile: TileConfig) -> str:
    """Return the size of the IR drop of a full tile at half input and half weight."""
    inputs = tile.mapping.max_inputs or 512
    current = torch.full((1,), 0.25 * inputs)
    drop = tile.ir_drop
    z = subtract_ir_drop_(torch.zeros(1), current, torch.ones(1), inputs, drop.scale, drop.g_ratio)
    return (
        f"{tile.ir_drop.r_wire_ohm:g} ohm per cell; a full column at half input and half weight "
        f"loses up to {-100 * float(z):.2g} % at its far end"
    )


def _output_stages(tile: TileConfig) -> list[Stage]:
    adc, noise, distortion = tile.adc, tile.noise, tile.distortion
    step = None if adc.steps is None or adc.bound is None else 2 * adc.bound / adc.steps
    in_steps = "" if step is None else f" = {noise.output_std / step:.2g} ADC steps"
    bound = "never clipped" if adc.bound is None else f"clipped at +-{adc.bound:g} full products"
    converter = Stage("output", "ADC", "off", f"outputs are not quantised, {bound}", _PRESET)
    if adc.steps is not None:
        meaning = f"{adc.steps + 1} levels, {bound}, one step is {step:.3g} full products"
        converter = Stage("output", "ADC", f"{adc.bits} bit", meaning, _PRESET)
    learned = tile.mapping.learn_out_scale
    return [
        _optional(
            "output", "S-shaped nonlinearity", distortion.out_nonlinearity,
            "a full-scale output is divided by 1 plus this",
        ),
        _optional(
            "output", "output noise", noise.output_std,
            f"{noise.output_std:g} of one full input on one full weight{in_steps}",
        ),
        _optional(
            "output", "output asymmetry", adc.asymmetry,
            f"negative outputs are {100 * adc.asymmetry:g} % smaller",
        ),
        converter,
        Stage(
            "digital", "output scale", f"learned per {learned}" if learned else "not learned",
            "multiplies the ADC's result together with range and mapping scale; the bias is added "
            "digitally", f"{_PAPER}; {_PRESET}",
        ),
    ]  # fmt: skip


def _training_stages(tile: TileConfig) -> list[Stage]:
    noise, clip = tile.weight_noise, tile.clip
    meaning = {
        "none": "weights are used as they are",
        "pcm": f"{noise.std:g} times the programming noise of PCM, sign kept",
        "multiplicative": f"{100 * noise.std:g} % of each weight",
        "device": f"{noise.std:g} times the deviation of a chip as programmed",
    }.get(noise.type, f"standard deviation {100 * noise.std:g} % of the largest weight")
    if noise.type == "device":
        meaning += f" and aged {noise.t_inference_s:g} s"
    elif noise.type == "pcm" and noise.t_inference_s > 0:
        meaning += f", with drift spread and 1/f noise after {noise.t_inference_s:g} s"
    limit = {
        None: "weights are not clipped",
        "fixed": f"to +-{clip.value} of the largest weight",
        "gaussian": f"to {clip.sigma:g} standard deviations of a tile",
        "channel_max": "to the mean of the columns' largest weights",
    }[clip.type]
    return [
        Stage(
            "training", "weight noise", noise.type, f"{meaning}; drawn anew each {noise.draw}",
            "aihwkit: weight_modifier_cuda.cu",
        ),
        _optional(
            "training", "drop-connect", noise.drop_connect,
            f"{100 * noise.drop_connect:g} % of the weights are zero in each draw",
        ),
        Stage("training", "clipping", clip.type or "off", limit, "aihwkit: weight_clipper.cpp"),
    ]  # fmt: skip


def _chip_stages(tile: TileConfig) -> list[Stage]:
    chip = tile.chip
    device = chip.device
    source = f"aihwkit: inference/noise; see {type(device).__name__}"
    g = torch.linspace(0, device.g_max_us, 3).repeat(20_000, 1)
    generator = torch.Generator().manual_seed(0)
    programmed = device.program(g, generator=generator).std(0)
    nu = device.draw_drift(g, generator=generator)
    ages = "both conductances of a pair age"
    if chip.chain == "collapsed":
        ages = "only the difference of a pair ages, as in the reference simulator"
    factor = "digital factor from a read-out with one-hot inputs, baseline over present value"
    return [
        Stage(
            "chip", "device", device.name,
            f"largest conductance {device.g_max_us:g} uS, {chip.converter.devices_per_weight} "
            f"devices per weight ({chip.converter.name})", source,
        ),
        Stage(
            "chip", "programming noise", f"{_listed(programmed)} uS",
            "standard deviation at 0, half and full conductance (20,000 draws)", source,
        ),
        Stage(
            "chip", "drift exponent", f"{_listed(nu.mean(0))} +- {_listed(nu.std(0))}",
            "mean and spread at 0, half and full conductance (20,000 draws)", source,
        ),
        Stage("chip", "chain", chip.chain, ages, "aihwkit: inference/noise/base.py"),
        Stage(
            "chip", "drift compensation", chip.compensation,
            "no factor" if chip.compensation == "none" else factor,
            "aihwkit: inference/compensation/drift.py",
        ),
    ]  # fmt: skip


def _listed(values: torch.Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values.tolist())


def _optional(part: str, name: str, value: float, meaning: str) -> Stage:
    if not value:
        return Stage(part, name, "off", "not modelled in this setting", _FORWARD)
    return Stage(part, name, f"{value:g}", meaning, _FORWARD)

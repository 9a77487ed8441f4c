"""Settings of aihwkit and aihwkit-lightning as a ``TileConfig``, and what has no counterpart here.

Neither project has to be installed: fields are read by name, from an ``RPUConfig`` or from a
mapping such as ``dataclasses.asdict`` makes. The device is read by
:mod:`~aimc_lightning.foreign_device`.

Source: names and defaults: IBM/aihwkit 1.2.0, ``src/aihwkit/simulator/parameters``;
IBM/aihwkit-lightning, ``src/aihwkit_lightning/simulator/parameters``.
"""

import math
from typing import Any, NamedTuple

from aimc_lightning.config import TileConfig
from aimc_lightning.foreign_device import Fields, translate_device

_NOISE_MANAGEMENT = {
    "None": "none", "AbsMax": "abs_max", "Max": "max", "Constant": "constant",
    "AbsMaxNPSum": "abs_max_np_sum",
}  # fmt: skip
_BOUND_MANAGEMENT = {"None": "none", "Iterative": "iterative", "IterativeWorstCase": "worst_case"}
_READ_NOISE = {"AdditiveConstant": "constant", "PCMRead": "pcm"}
_MODIFIERS = {
    "None": "none", "DropConnect": "none", "AddNormal": "additive", "MultNormal": "multiplicative",
    "Discretize": "discretize", "DiscretizeAddNormal": "discretize_additive", "DoReFa": "dorefa",
    "Poly": "polynomial", "PCMNoise": "pcm", "ProgNoise": "programming",
}  # fmt: skip
_CLIPS = {
    "None": None, "FixedValue": "fixed", "LayerGaussian": "gaussian",
    "AverageChannelMax": "channel_max",
}  # fmt: skip
#: aihwkit's default, for conductances of 1; ours are in microsiemens.
_DEFAULT_COEFFICIENTS = [0.0105392, 0.0768, -0.046925]
_DISTORTION = {
    name: name
    for name in ("out_nonlinearity", "out_nonlinearity_std", "slope_calibration", "r_series",
                 "v_offset_std", "v_offset_w_min")
} | {"w_read_asymmetry_dtod": "polarity_std"}  # fmt: skip
#: Fields without counterpart, with the value that changes nothing.
_NEUTRAL_FORWARD = {
    "mv_type": "OnePass", "inp_bound": 1.0, "out_scale": 1.0, "max_bm_factor": 1000,
    "max_bm_res": 0.25, "bm_test_negative_bound": True, "out_noise_per_channel": False,
}  # fmt: skip
_NEUTRAL_MAPPING = {"digital_bias": True, "weight_scaling_lr_compensation": False}
_NEUTRAL_RANGE = {
    "manage_output_clipping": False, "gradient_scale": 1.0, "gradient_relative": True,
    "fast_mode": False,
}  # fmt: skip
_NEUTRAL_MODIFIER = {
    "per_batch_sample": False, "sto_round": False, "dorefa_clip": 0.6, "enable_during_test": False,
    "rel_to_actual_wmax": True, "copy_last_column": False, "g_max": 25.0, "pcm_zero_thres": 0.0,
    "pcm_prob_at_reset": 0.0, "pcm_prob_at_gmax": 0.0, "pcm_prob_at_random": 0.0, "pcm_t0": 20.0,
}  # fmt: skip
_NEUTRAL_REMAP = {"remapped_wmax": 1.0, "max_scale_range": 0.0, "max_scale_ref": 0.0}
#: Fields that say nothing about the chip, or only something together with another one.
_SILENT = {
    "input_range": {"output_min_percentage", "calibration_info", "act_range_momentum"},
    "modifier": {"assumed_wmax"},
}


class TranslatedConfig(NamedTuple):
    """A config and remarks on what could not be translated, or works differently here."""

    config: TileConfig
    notes: list[str]


def translate_config(source: Any) -> TranslatedConfig:  # noqa: ANN401 - an RPUConfig or a mapping
    """Translate settings of aihwkit or aihwkit-lightning.

    Args:
        source: ``InferenceRPUConfig``, ``TorchInferenceRPUConfig`` or a preset of these, of either
            project; or the same as nested mappings.

    Returns:
        Our settings, and a note for each field that is left out or works differently; read them.

    Raises:
        TypeError: If it has no ``forward`` and ``mapping`` settings.
        ValueError: If a value is not possible here, see :class:`~aimc_lightning.config.TileConfig`.

    Example:
        >>> theirs = {"forward": {"inp_res": 62, "out_noise": 0.1}, "mapping": {}}
        >>> translate_config(theirs).config.dac.bits
        6
    """
    notes: list[str] = []
    top = Fields(source, "", notes)
    if not {"forward", "mapping"} <= top.names():
        raise TypeError(
            f"{type(source).__name__} has no forward and mapping settings; give an "
            "InferenceRPUConfig of aihwkit, a TorchInferenceRPUConfig of either project, or "
            "dataclasses.asdict of one."
        )
    values: dict[str, Any] = {"chip.chain": "collapsed"}
    values |= _forward(top.section("forward"), notes)
    values |= _mapping(top.section("mapping"), notes)
    values |= _input_range(top.section("pre_post").section("input_range"))
    values |= _modifier(top.section("modifier"), notes)
    values |= _clip(top.section("clip"), notes)
    values |= _remap(top.section("remap"), notes)
    values |= translate_device(top, notes)
    return TranslatedConfig(TileConfig().with_values(values), notes)


def _forward(their: Fields, notes: list[str]) -> dict[str, Any]:
    if their.get("is_perfect", False):
        return {
            "dac.bits": None, "adc.bits": None, "adc.bound": None, "noise.output_std": 0.0,
            "noise.read_std": 0.0, "ir_drop.scale": 0.0,
        }  # fmt: skip
    bound = their.get("out_bound", 0.0)
    adc_bits = _bits(their, "out_res", notes)
    if bound <= 0 and adc_bits is not None:
        notes.append(f"forward.out_res is left out: out_bound is {bound}, so it has no range.")
    read = their.choice("w_noise_type", _READ_NOISE | {"None": None}, "None")
    management = their.choice("noise_management", _NOISE_MANAGEMENT, "None")
    threshold = their.get("nm_thres", 0.0)
    if management == "constant" and threshold == 1.0:
        management, threshold = "none", 0.0  # a factor of one
    values = {
        "dac.bits": _bits(their, "inp_res", notes),
        "dac.stochastic": their.get("inp_sto_round", False),
        "dac.asymmetry": their.get("inp_asymmetry", 0.0),
        "adc.bits": adc_bits if bound > 0 else None,
        "adc.bound": bound if bound > 0 else None,
        "adc.stochastic": their.get("out_sto_round", False),
        "adc.asymmetry": their.get("out_asymmetry", 0.0),
        "noise.output_std": their.get("out_noise", 0.0),
        "noise.output_spread": their.get("out_noise_std", 0.0),
        "noise.input_std": their.get("inp_noise", 0.0),
        "noise.read_std": their.get("w_noise", 0.0) * (read is not None),
        "noise.read_type": read or "pcm",
        "ir_drop.scale": their.get("ir_drop", 0.0),
        # Only the ratio counts; ours is made of a wire of 0.35 ohm and this conductance.
        "ir_drop.g_unit_us": round(1e6 / 0.35 / their.get("ir_drop_g_ratio", 1 / 0.35 / 5e-6), 9),
        "input_range.noise_management": management,
        "input_range.nm_threshold": threshold,
        "input_range.bound_management": their.choice("bound_management", _BOUND_MANAGEMENT, "None"),
    }
    for name, ours in _DISTORTION.items():
        values[f"distortion.{ours}"] = their.get(name, -1.0 if name == "v_offset_w_min" else 0.0)
    if values["dac.asymmetry"] + values["adc.asymmetry"] > 0:
        notes.append("Asymmetry acts here always, in aihwkit only with passes for each sign.")
    their.finish(_NEUTRAL_FORWARD)
    return values


def _mapping(their: Fields, notes: list[str]) -> dict[str, Any]:
    omega = their.get("weight_scaling_omega", 0.0)
    if omega <= 0:
        notes.append(
            "mapping.weight_scaling_omega is off; here the largest weight always becomes 1."
        )
    scale = "column" if their.get("out_scaling_columnwise", False) else "tile"
    values = {
        "mapping.omega": omega if omega > 0 else 1.0,
        "mapping.weight_scaling": (
            "column" if their.get("weight_scaling_columnwise", False) else "tile"
        ),
        "mapping.learn_out_scale": scale if their.get("learn_out_scaling", False) else None,
        "mapping.max_inputs": max(their.get("max_input_size", 0), 0),
        "mapping.max_outputs": max(their.get("max_output_size", 0), 0),
        "mapping.conv_split": "unfold",
    }
    their.finish(_NEUTRAL_MAPPING)
    return values


def _input_range(their: Fields) -> dict[str, Any]:
    mode = "learned" if their.get("learn_input_range", True) else "fixed"
    if their.get("dynamic", False):
        mode = "dynamic"
    if not their.get("enable", False):
        mode = "off"
    values = {
        "input_range.mode": mode,
        "input_range.initial": their.get("init_value", 3.0),
        "input_range.init_rule": "std",
        "input_range.init_batches": their.get("init_from_data", 100),
        "input_range.init_std_alpha": their.get("init_std_alpha", 3.0),
        "input_range.decay": their.get("decay", 0.001),
        "input_range.min_percentage": their.get("input_min_percentage", 0.95),
    }
    if mode == "dynamic":  # it is a noise management itself
        values |= {"input_range.noise_management": "none", "input_range.nm_threshold": 0.0}
    their.finish(_NEUTRAL_RANGE, _SILENT["input_range"])
    return values


def _modifier(their: Fields, notes: list[str]) -> dict[str, Any]:
    kind = their.choice("type", _MODIFIERS, "None")
    resolution = their.get("res", 0.0)
    resolution = 1 / resolution if resolution > 1 else max(resolution, 0.0)
    values: dict[str, Any] = {}
    if {"noise_type", "quantization_type"} & their.names():  # aihwkit-lightning
        noise, quantised = (their.get(n, "None") for n in ("noise_type", "quantization_type"))
        both = [name for name in (quantised, noise) if name != "None"]
        kind = {0: "none", 1: "additive" if noise != "None" else "discretize"}.get(
            len(both), "discretize_additive"
        )
        resolution *= 2  # its steps share the range from -max to max, ours begin at zero
        if both:
            per_channel = both[-1].endswith("PerChannel")
            values["mapping.weight_scaling"] = "column" if per_channel else "tile"
    coefficients = [float(c) for c in their.get("coeffs", _DEFAULT_COEFFICIENTS)]
    if kind in ("polynomial", "programming") or coefficients != _DEFAULT_COEFFICIENTS:
        values["weight_noise.coefficients"] = tuple(coefficients)
    if kind == "programming" and coefficients == _DEFAULT_COEFFICIENTS:
        notes.append(
            "modifier.coeffs are aihwkit's default, 25 times too small for ProgNoise, there as "
            "here; set weight_noise.coefficients=(0.26348, 1.965, -1.1731)."
        )
    values |= {
        "weight_noise.type": kind,
        "weight_noise.std": their.get("std_dev", 0.0),
        "weight_noise.resolution": resolution,
        "weight_noise.drop_connect": their.get("pdrop", 0.0),
        "weight_noise.t_inference_s": their.get("pcm_t_inference", 0.0),
        "weight_noise.draw": "step",
    }
    their.finish(_NEUTRAL_MODIFIER, _SILENT["modifier"])
    return values


def _clip(their: Fields, notes: list[str]) -> dict[str, Any]:
    kind, fixed = their.choice("type", _CLIPS, "None"), their.get("fixed_value", -1.0)
    sigma = their.get("sigma", 2.5)
    value = fixed if kind is not None and fixed > 0 else None
    if value is not None and value < 1:
        notes.append(f"clip.fixed_value {value} is left out: the largest weight is 1 here.")
        value = None
    kind = None if kind == "fixed" and value is None else kind
    their.finish({})
    return {"clip.type": kind, "clip.value": value, "clip.sigma": sigma if sigma > 0 else 2.5}


def _remap(their: Fields, notes: list[str]) -> dict[str, Any]:
    if their.get("type", "None") == "None":
        notes.append(
            "remap is off; here the mapping scale is found anew in each step, as with a remap."
        )
    their.finish(_NEUTRAL_REMAP)
    return {}


def _bits(their: Fields, name: str, notes: list[str]) -> int | None:
    """Return the resolution of a converter from a number of steps or its inverse."""
    resolution = their.get(name, 0.0)
    if resolution <= 0:
        return None
    steps = resolution if resolution > 1 else 1 / resolution
    bits = max(round(math.log2(steps + 2)), 2)
    if abs(steps - (2**bits - 2)) > 1e-3 * steps:
        notes.append(f"forward.{name} has {steps:g} steps; {bits} bit here have {2**bits - 2}.")
    return bits

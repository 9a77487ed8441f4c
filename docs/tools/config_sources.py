"""Units that a name does not tell, and where the settings of a tile come from."""

_PRESET = "IBM/aihwkit, `simulator/presets/inference.py`, StandardHWATrainingPreset"
_IO = "IBM/aihwkit, `simulator/parameters/io.py`"
_PRE_POST = "IBM/aihwkit, `simulator/parameters/pre_post.py`"
_MAPPING = "IBM/aihwkit, `simulator/parameters/mapping.py`"
_TRAINING = "IBM/aihwkit, `simulator/parameters/inference.py`"
_FORWARD = "IBM/aihwkit, `rpucuda/rpu_forward_backward_pass.cpp`"
_MODIFIER = "IBM/aihwkit, `rpucuda/cuda/weight_modifier_cuda.cu`"
_PAPER = "Rasch et al., Nat. Commun. 14, 5282 (2023)"
_CONVERTER = "IBM/aihwkit, `inference/converter/conductance.py`"

#: By setting, or by section for all of its settings that are not named.
SOURCES = {
    "dac": _IO,
    "dac.bits": _PRESET,
    "adc": _IO,
    "adc.bits": _PRESET,
    "adc.bound": _PRESET,
    "input_range": _PRE_POST,
    "input_range.noise_management": _FORWARD,
    "input_range.nm_threshold": _IO,
    "input_range.bound_management": _FORWARD,
    "noise": _IO,
    "noise.output_std": _PRESET,
    "noise.read_std": _PRESET,
    "noise.read_type": _PRESET,
    "ir_drop": _IO,
    "ir_drop.scale": _PRESET,
    "distortion": _IO,
    "mapping": _MAPPING,
    "mapping.max_inputs": _PRESET,
    "mapping.max_outputs": f"{_PAPER}; not split in aihwkit's preset",
    "mapping.weight_scaling": _PRESET,
    "mapping.omega": _PRESET,
    "mapping.learn_out_scale": _PRESET,
    "mapping.conv_split": "IBM/aihwkit, `nn/modules/conv_mapped.py` and `conv.py`",
    "weight_noise": _MODIFIER,
    "weight_noise.std": "replications of the paper; not checked against its text",
    "weight_noise.draw": "this library; `step` is what aihwkit does",
    "clip": _TRAINING,
    "chip.device": "IBM/aihwkit, `inference/noise/pcm.py`",
    "chip.converter": _CONVERTER,
    "chip.chain": "IBM/aihwkit, `inference/noise/base.py`",
    "chip.compensation": "IBM/aihwkit, `inference/compensation/drift.py`",
    "DualPair": _CONVERTER,
}
_INPUT, _PRODUCT = "layer's input", "full product"
UNITS = {
    "adc.bound": _PRODUCT,
    "input_range.initial": _INPUT,
    "input_range.init_batches": "batches",
    "input_range.init_std_alpha": "standard deviations",
    "noise.output_std": _PRODUCT,
    "noise.read_std": _PRODUCT,
    "noise.input_std": "input range",
    "mapping.max_inputs": "cells",
    "mapping.max_outputs": "cells",
    "weight_noise.coefficients": "µS",
    "clip.sigma": "standard deviations",
    "PCMDevice.prog_coeff": "µS",
    "CustomDriftDevice.prog_coeff": "µS",
    "HermesDevice.prog_coeff": "µS",
    "StateIndependentDevice.prog_coeff": "µS",
    "CustomPair.tables_us": "µS",
    "NoiseSchedule.noise_free": "epochs or steps",
    "NoiseSchedule.ramp": "epochs or steps",
    "NoiseSchedule.freeze_input_range": "epochs or steps",
}
#: Of fields whose rule is no range; a test checks that the values are accepted.
RANGES = {"ReRamCMO.acceptance_percent": "0.2, 2.0"}

"""Settings of aihwkit and aihwkit-lightning, written down as their classes hold them."""

from enum import Enum
from types import SimpleNamespace

import pytest

from aimc_lightning.config import TileConfig
from aimc_lightning.devices import (
    CustomDriftDevice,
    DualPair,
    HermesDevice,
    PCMDevice,
    ReRamCMO,
    SingleDevice,
)
from aimc_lightning.foreign_config import translate_config
from aimc_lightning.presets import get_preset


class Kind(Enum):
    """Stands for any of their enumerations: the value is the text."""

    PCM_READ = "PCMRead"
    CONSTANT = "Constant"


def named(name, **fields):
    """Return an object of a class of this name."""
    made = type(name, (), {})()
    vars(made).update(fields)
    return made


def preset(**sections):
    """StandardHWATrainingPreset of aihwkit 1.2.0, as an object with their values."""
    single = named("SinglePairConductanceConverter", g_max=25.0, g_min=0.0, scale_ratio=None)
    fields = {
        "forward": {
            "is_perfect": False, "mv_type": "OnePass", "inp_bound": 1.0, "inp_noise": 0.0,
            "inp_res": 254.0, "inp_sto_round": False, "inp_asymmetry": 0.0, "out_bound": 10.0,
            "out_noise": 0.04, "out_noise_std": 0.0, "out_res": 254.0, "out_sto_round": False,
            "out_scale": 1.0, "out_asymmetry": 0.0, "bound_management": "None",
            "noise_management": Kind.CONSTANT, "nm_thres": 1.0, "w_noise": 0.0175,
            "w_noise_type": Kind.PCM_READ, "ir_drop": 1.0, "ir_drop_g_ratio": 1.0 / 0.35 / 5e-6,
            "out_nonlinearity": 0.0, "v_offset_w_min": -1.0, "max_bm_factor": 1000,
        },
        "mapping": {
            "digital_bias": True, "weight_scaling_omega": 1.0, "weight_scaling_columnwise": True,
            "learn_out_scaling": True, "out_scaling_columnwise": True, "max_input_size": 512,
            "max_output_size": 0,
        },
        "pre_post": {
            "input_range": {
                "enable": True, "learn_input_range": True, "init_value": 3.0,
                "init_from_data": 100, "init_std_alpha": 3.0, "decay": 0.001,
                "input_min_percentage": 0.95, "output_min_percentage": 0.95,
                "manage_output_clipping": False, "gradient_scale": 1.0, "gradient_relative": True,
            }
        },
        "modifier": {"type": "None", "std_dev": 0.0, "coeffs": [0.0105392, 0.0768, -0.046925]},
        "clip": {"type": "FixedValue", "sigma": 2.5, "fixed_value": 1.0},
        "remap": {"type": "ChannelwiseSymmetric", "remapped_wmax": 1.0},
        "noise_model": named(
            "PCMLikeNoiseModel", g_converter=single, g_max=25.0, t_0=20.0, t_read=250e-9,
            prog_noise_scale=1.0, read_noise_scale=1.0, drift_scale=1.0,
            prog_coeff=[0.26348, 1.9650, -1.1731], prog_coeff_g_max_reference=25.0,
        ),
        "drift_compensation": named("GlobalDriftCompensation"),
    }  # fmt: skip
    for name, values in sections.items():
        known = fields[name]
        fields[name] = {**known, **values} if isinstance(known, dict) else values
    return SimpleNamespace(**fields)


def test_their_standard_preset_is_our_preset_of_that_name():
    config, notes = translate_config(preset())
    # Theirs states a limit that our scale keeps anyway, and draws training noise after each step.
    more = {"weight_noise.draw": "step", "clip.type": "fixed", "clip.value": 1.0}
    expected = get_preset("aihwkit_pcm").with_values(more)
    assert config == expected
    assert notes == []


def test_nested_mappings_do_as_well():
    theirs = vars(preset())
    theirs["noise_model"] = {"class": "PCMLikeNoiseModel", "g_max": 40.0, "drift_scale": 2.0}
    config, _ = translate_config(theirs)
    assert config.chip.device == PCMDevice(g_max_us=40.0, drift_scale=2.0)


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("forward", {"inp_res": 1 / 126}, {"dac.bits": 7}),
        ("forward", {"out_res": -1.0}, {"adc.bits": None}),
        ("forward", {"noise_management": "AbsMax", "nm_thres": 0.0},
         {"input_range.noise_management": "abs_max"}),
        ("forward", {"bound_management": "Iterative"},
         {"input_range.bound_management": "iterative"}),
        ("forward", {"ir_drop_g_ratio": 1 / 0.35 / 10e-6}, {"ir_drop.g_unit_us": 10.0}),
        ("forward", {"w_read_asymmetry_dtod": 0.1}, {"distortion.polarity_std": 0.1}),
        ("forward", {"is_perfect": True},
         {"dac.bits": None, "adc.bound": None, "noise.read_std": 0.0}),
        ("mapping", {"learn_out_scaling": False}, {"mapping.learn_out_scale": None}),
        ("modifier", {"type": "AddNormal", "std_dev": 0.06, "pdrop": 0.01},
         {"weight_noise.type": "additive", "weight_noise.std": 0.06,
          "weight_noise.drop_connect": 0.01}),
        ("modifier", {"type": "Discretize", "res": 127}, {"weight_noise.resolution": 1 / 127}),
        ("modifier", {"type": "PCMNoise", "std_dev": 3.0, "pcm_t_inference": 60.0},
         {"weight_noise.type": "pcm", "weight_noise.t_inference_s": 60.0}),
        ("clip", {"type": "LayerGaussian", "sigma": 2.0, "fixed_value": -1.0},
         {"clip.type": "gaussian", "clip.sigma": 2.0, "clip.value": None}),
    ],
)  # fmt: skip
def test_value_is_translated(section, values, expected):
    config, _ = translate_config(preset(**{section: values}))
    for path, value in expected.items():
        part, field = path.split(".")
        assert getattr(getattr(config, part), field) == value


@pytest.mark.parametrize(
    ("section", "values", "note"),
    [
        ("forward", {"inp_res": 256}, "inp_res has 256 steps; 8 bit here have 254"),
        ("forward", {"mv_type": "PosNegSeparate"}, "forward.mv_type = PosNegSeparate has no"),
        ("forward", {"bound_management": "Shift"}, "forward.bound_management = Shift has no"),
        ("forward", {"brand_new": 7}, "forward.brand_new = 7 has no counterpart"),
        ("forward", {"out_bound": 0.0}, "out_res is left out: out_bound is 0.0"),
        ("forward", {"inp_asymmetry": 0.1}, "Asymmetry acts here always"),
        ("mapping", {"digital_bias": False}, "mapping.digital_bias = False has no"),
        ("mapping", {"weight_scaling_omega": 0.0}, "weight_scaling_omega is off"),
        ("modifier", {"type": "ProgNoise"}, "25 times too small"),
        ("modifier", {"pcm_prob_at_gmax": 0.1}, "modifier.pcm_prob_at_gmax = 0.1 has no"),
        ("clip", {"type": "FixedValue", "fixed_value": 0.5}, "fixed_value 0.5 is left out"),
        ("remap", {"type": "None"}, "remap is off"),
        ("noise_model", {"class": "MyNoise"}, "noise_model MyNoise is not known"),
        ("drift_compensation", {"class": "Mine"}, "drift_compensation Mine is not known"),
    ],
)
def test_what_cannot_be_translated_is_noted(section, values, note):
    _, notes = translate_config(preset(**{section: values}))
    assert any(note in entry for entry in notes), notes


def test_devices_and_converters_are_found_by_the_names_of_their_classes():
    dual = named("DualPairConductanceConverter", f_lst=[1.0, 4.0], g_max=25.0, g_min=0.0)
    single = named("SingleDeviceConductanceConverter", g_min=9.0)
    models = {
        HermesDevice(num_devices=1): named("HermesNoiseModel", num_devices=1, g_max=10.35),
        PCMDevice(prog_coeff=(1.0, 2.0), prog_coeff_g_max_us=25.0): named(
            "PCMLikeNoiseModel", g_max=25.0, prog_coeff=[1.0, 2.0], prog_coeff_g_max_reference=25.0
        ),
        CustomDriftDevice(
            g_table_us=(0.0, 25.0), nu_mean_table=(0.1, 0.05), nu_std_table=(0.02, 0.01)
        ): named(
            "CustomDriftPCMLikeNoiseModel", g_max=25.0, g_converter=dual,
            custom_drift_model={"g_lst": [0.0, 25.0], "nu_mean_lst": [0.1, 0.05],
                                "nu_std_lst": [0.02, 0.01]},
        ),
        ReRamCMO(): named("ReRamCMONoiseModel", g_max=88.199997, g_min=9.0, g_converter=single),
    }  # fmt: skip
    found = [translate_config(preset(noise_model=m)).config.chip for m in models.values()]
    assert [chip.device for chip in found] == list(models)
    assert found[2].converter == DualPair(factors=(1.0, 4.0))
    assert found[3].converter == SingleDevice()


def test_no_compensation_is_none():
    theirs = preset()
    theirs.drift_compensation = None
    assert translate_config(theirs).config.chip.compensation == "none"


def lightning(**modifier):
    """TorchInferenceRPUConfig of aihwkit-lightning 2."""
    return {
        "forward": {"inp_res": 254, "out_noise": 0.02, "out_noise_per_channel": False},
        "mapping": {"max_input_size": 256},
        "pre_post": {"input_range": {"enable": True, "fast_mode": False, "dynamic": False}},
        "clip": {"type": "LayerGaussianPerChannel", "sigma": 3.0},
        "modifier": {"noise_type": "None", "quantization_type": "None", "res": 0.0, **modifier},
    }


def test_config_of_aihwkit_lightning_has_what_that_project_has_and_no_more():
    theirs = lightning(noise_type="AddNormalPerChannel", std_dev=0.05)
    config, notes = translate_config(theirs)
    assert (config.dac.bits, config.adc.bits, config.ir_drop.scale) == (8, None, 0.0)
    assert config.mapping.max_inputs == 256
    assert (config.weight_noise.type, config.weight_noise.std) == ("additive", 0.05)
    assert config.mapping.weight_scaling == "column"
    assert any("LayerGaussianPerChannel" in note for note in notes)
    assert any("standard PCM" in note for note in notes)


def test_quantised_weights_of_aihwkit_lightning_have_as_many_steps_here():
    theirs = lightning(noise_type="AddNormal", quantization_type="Discretize", res=2**4 - 2)
    config, _ = translate_config(theirs)
    assert config.weight_noise.type == "discretize_additive"
    # 14 steps from -max to max, each a seventh of the largest weight.
    assert config.weight_noise.resolution == pytest.approx(1 / 7)


def test_something_else_is_refused():
    with pytest.raises(TypeError, match="TileConfig has no forward and mapping settings"):
        translate_config(TileConfig())

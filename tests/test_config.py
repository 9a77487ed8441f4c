"""Settings: every rule with its message, and the dictionary form."""

import dataclasses
import json
import math

import pytest

from aimc_lightning.config import FORMAT_VERSION, TileConfig
from aimc_lightning.devices.converters import DualPair
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.devices.reram import ReRamWan2022
from aimc_lightning.forward_config import (
    ADCConfig,
    DACConfig,
    DistortionConfig,
    ForwardNoiseConfig,
    InputRangeConfig,
    IRDropConfig,
)
from aimc_lightning.presets import get_preset, list_presets
from aimc_lightning.tile_config import ChipConfig, ClipConfig, MappingConfig, WeightNoiseConfig

NOT_NEGATIVE = [
    (ForwardNoiseConfig, "output_std"), (ForwardNoiseConfig, "output_spread"),
    (ForwardNoiseConfig, "read_std"), (ForwardNoiseConfig, "input_std"),
    (IRDropConfig, "scale"), (InputRangeConfig, "decay"), (InputRangeConfig, "nm_threshold"),
    (DistortionConfig, "out_nonlinearity"), (DistortionConfig, "out_nonlinearity_std"),
    (DistortionConfig, "slope_calibration"), (DistortionConfig, "r_series"),
    (DistortionConfig, "v_offset_std"), (DistortionConfig, "polarity_std"),
    (WeightNoiseConfig, "std"), (WeightNoiseConfig, "resolution"),
    (WeightNoiseConfig, "t_inference_s"),
]  # fmt: skip
POSITIVE = [
    (IRDropConfig, "r_wire_ohm"), (IRDropConfig, "g_unit_us"), (InputRangeConfig, "initial"),
    (InputRangeConfig, "init_std_alpha"), (ADCConfig, "bound"), (ClipConfig, "sigma"),
    (ClipConfig, "value"), (MappingConfig, "omega"),
]  # fmt: skip
SHARE = [
    (DACConfig, "asymmetry"), (ADCConfig, "asymmetry"), (InputRangeConfig, "min_percentage"),
    (WeightNoiseConfig, "drop_connect"), (MappingConfig, "omega"),
]  # fmt: skip
COUNT = [
    (InputRangeConfig, "init_batches"), (MappingConfig, "max_inputs"),
    (MappingConfig, "max_outputs"),
]  # fmt: skip
CHOICE = [
    (InputRangeConfig, "mode"), (InputRangeConfig, "noise_management"),
    (InputRangeConfig, "bound_management"), (ForwardNoiseConfig, "read_type"),
    (MappingConfig, "weight_scaling"), (MappingConfig, "learn_out_scale"),
    (MappingConfig, "conv_split"), (WeightNoiseConfig, "type"), (WeightNoiseConfig, "draw"),
    (ClipConfig, "type"), (ChipConfig, "chain"), (ChipConfig, "compensation"),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "name"), NOT_NEGATIVE)
@pytest.mark.parametrize("value", [-1e-6, math.nan, math.inf, "much", True])
def test_numbers_that_must_not_be_negative(cls, name, value):
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.{name} .*at least 0, got {value!r}"):
        cls(**{name: value})


@pytest.mark.parametrize(("cls", "name"), POSITIVE)
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_numbers_that_must_be_positive(cls, name, value):
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.{name} must be .*got {value!r}"):
        cls(**{name: value})


@pytest.mark.parametrize(("cls", "name"), SHARE)
def test_shares_must_not_exceed_one(cls, name):
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.{name} .*and 1, got 1\.5"):
        cls(**{name: 1.5})


@pytest.mark.parametrize(("cls", "name"), COUNT)
@pytest.mark.parametrize("value", [-1, 2.5, None, True])
def test_counts_must_be_integers(cls, name, value):
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.{name} .*integer .*got {value!r}"):
        cls(**{name: value})


@pytest.mark.parametrize(("cls", "name"), CHOICE)
def test_unknown_choice_lists_the_known_ones(cls, name):
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.{name} must be one of .*got 'other'"):
        cls(**{name: "other"})


@pytest.mark.parametrize("cls", [DACConfig, ADCConfig])
@pytest.mark.parametrize("bits", [1, 25, 7.5])
def test_impossible_bits_are_refused(cls, bits):
    with pytest.raises(ValueError, match=f"integer from 2 to 24, got {bits!r}"):
        cls(bits=bits)


@pytest.mark.parametrize(("build", "message"), [
    (lambda: ADCConfig(bits=8, bound=None), "ADCConfig.bits is 8 but bound is None"),
    (lambda: InputRangeConfig(noise_management="constant"), "divides by nm_threshold, which is 0"),
    (lambda: InputRangeConfig(mode="dynamic", noise_management="max"), "be combined with 'max'"),
    (lambda: WeightNoiseConfig(type="dorefa"), "'dorefa' needs a resolution above 0"),
    (lambda: WeightNoiseConfig(type="discretize_additive"), "needs a resolution above 0"),
    (lambda: WeightNoiseConfig(coefficients=()), r"one or more finite numbers, got \(\)"),
    (lambda: InputRangeConfig(init_times_s=()), r"one or more numbers of seconds from 0, got \(\)"),
    (lambda: InputRangeConfig(init_times_s=(0, -1)), "seconds from 0, got"),
    (lambda: WeightNoiseConfig(coefficients=(math.nan,)), "finite numbers, got"),
    (lambda: ClipConfig(type="fixed"), "'fixed' needs a value"),
    (lambda: TileConfig(clip=ClipConfig(type="fixed", value=0.9)),
     r"ClipConfig.value is 0.9, below MappingConfig.omega = 1.0.*shrink.*type='gaussian'"),
    (lambda: TileConfig(clip=ClipConfig(type="gaussian", value=0.9)), "value is 0.9, below"),
    (lambda: TileConfig(
        adc=ADCConfig(bits=None, bound=None), distortion=DistortionConfig(out_nonlinearity=0.1)),
     "out_nonlinearity is 0.1 per full scale, but ADCConfig.bound is None"),
    (lambda: TileConfig(
        adc=ADCConfig(bits=None, bound=None),
        input_range=InputRangeConfig(bound_management="iterative")), "needs ADCConfig.bound"),
    (lambda: TileConfig(
        adc=ADCConfig(bits=None, bound=None),
        input_range=InputRangeConfig(noise_management="abs_max_np_sum")), "needs ADCConfig.bound"),
    (lambda: TileConfig(
        chip=ChipConfig(device=ReRamWan2022()),
        weight_noise=WeightNoiseConfig(type="device", std=1.0, t_inference_s=7200.0)),
     "t_inference_s is 7200.0, but ReRamWan2022 has data for 1, 86400, 172800 s only"),
])  # fmt: skip
def test_impossible_combination_names_its_rule(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_fixed_clipping_at_omega_is_allowed_and_a_value_without_clipping_is_too():
    values = {"mapping.omega": 0.5, "clip.type": "fixed", "clip.value": 0.5}
    assert TileConfig().with_values(values).clip.value == 0.5
    assert TileConfig(clip=ClipConfig(value=0.5)).clip.type is None


@pytest.mark.parametrize(("build", "message"), [
    (lambda: ChipConfig(device="pcm"), "ChipConfig.device must be a Device, got 'pcm'"),
    (lambda: ChipConfig(converter=5), "must be a ConductanceConverter, got 5"),
    (lambda: TileConfig(dac=5), "TileConfig.dac must be a DACConfig, got 5"),
    (lambda: TileConfig.from_dict({"clip": None}), "clip must be a ClipConfig, got None"),
    (lambda: TileConfig().with_values({"adc": DACConfig()}), "TileConfig.adc must be a ADCConfig"),
])  # fmt: skip
def test_value_of_another_type_is_refused_when_the_config_is_built(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TileConfig().dac.bits = 4


def test_configs_with_equal_values_are_equal_and_hash_alike():
    assert TileConfig() == get_preset("standard_pcm")
    assert hash(TileConfig()) == hash(get_preset("standard_pcm"))
    assert TileConfig(adc=ADCConfig(bits=6)) != TileConfig()


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_survives_json(name):
    config = get_preset(name)
    data = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert data["format_version"] == FORMAT_VERSION
    assert TileConfig.from_dict(data) == config


def test_unusual_values_survive_json():
    config = TileConfig(
        weight_noise=WeightNoiseConfig(type="polynomial", coefficients=(0.1, 0.2)),
        chip=ChipConfig(device=PCMDevice(g_max_us=20.0), converter=DualPair(factors=(1.0, 3.0))),
    )
    assert TileConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_missing_fields_take_their_defaults():
    config = TileConfig.from_dict({"adc": {"bits": 6}})
    assert config == TileConfig(adc=ADCConfig(bits=6))


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, "two", None])
def test_newer_format_is_refused(version):
    with pytest.raises(ValueError, match=r"format version .* reads up to 1; update aimc_lightning"):
        TileConfig.from_dict({"format_version": version})


@pytest.mark.parametrize(("data", "message"), [
    ({"dacs": {}}, "TileConfig has no field 'dacs'; it has dac, adc"),
    ({"dac": {"bit": 8}}, "DACConfig has no field 'bit'; it has bits"),
    ({"dac": {"bits": 1}}, "integer from 2 to 24, got 1"),
])  # fmt: skip
def test_wrong_dictionary_names_the_field(data, message):
    with pytest.raises(ValueError, match=message):
        TileConfig.from_dict(data)


def test_dotted_names_replace_nested_values():
    config = TileConfig().with_values({"adc.bits": 6, "chip.device.drift_scale": 2.0})
    assert config.adc.bits == 6
    assert config.chip.device == PCMDevice(drift_scale=2.0)
    assert TileConfig().adc.bits == 8


def test_dotted_names_are_checked_together_in_any_order():
    values = {"adc.bits": None, "adc.bound": None}
    for order in (values, dict(reversed(values.items()))):
        assert TileConfig().with_values(order).adc == ADCConfig(bits=None, bound=None)


def test_whole_part_and_a_field_below_it_may_be_given_together():
    config = TileConfig().with_values({"adc.bits": 4, "adc": ADCConfig(bound=20.0)})
    assert config.adc == ADCConfig(bits=4, bound=20.0)


def test_unknown_dotted_name_lists_the_fields():
    with pytest.raises(ValueError, match=r"'adc.bit': ADCConfig has no field 'bit'; it has bits"):
        TileConfig().with_values({"adc.bit": 6})


def test_dotted_names_are_checked_like_constructors():
    with pytest.raises(ValueError, match="got -1"):
        TileConfig().with_values({"noise.output_std": -1})


def test_dotted_name_below_a_plain_value_is_refused():
    with pytest.raises(ValueError, match=r"'adc.bits.x'"):
        TileConfig().with_values({"adc.bits.x": 6})


def test_device_that_does_not_fit_the_converter_is_refused_when_built():
    assert ChipConfig(device=ReRamWan2022()).device.g_max_us == 40.0


@pytest.mark.parametrize(("management", "mode"), [
    ("none", "dynamic"), ("abs_max", "off"), ("max", "learned"),
])  # fmt: skip
def test_per_vector_factors_are_recognised(management, mode):
    assert InputRangeConfig(mode=mode, noise_management=management).per_vector
    assert not InputRangeConfig().per_vector

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import aimc_lightning.devices.base as base
from aimc_lightning.devices.base import Device, device_from_dict, list_devices, register_device
from aimc_lightning.devices.converters import SinglePair
from aimc_lightning.devices.faulty import FaultyDevice
from aimc_lightning.devices.hermes import HermesDevice
from aimc_lightning.devices.pcm import CustomDriftDevice, PCMDevice
from aimc_lightning.devices.reram import ReRamCMO, ReRamWan2022
from aimc_lightning.devices.simple import IdealDevice, StateIndependentDevice
from aimc_lightning.functional.programming import add_conductance_noise
from tests.helpers.statistics import generator

TABLE = {"g_table_us": (0.0, 25.0), "nu_mean_table": (0.1, 0.05), "nu_std_table": (0.04, 0.01)}
DEVICES = [
    IdealDevice(),
    PCMDevice(g_max_us=40.0, prog_coeff=(0.1, 0.2)),
    CustomDriftDevice(**TABLE),
    HermesDevice(num_devices=1),
    HermesDevice(),
    ReRamWan2022(),
    ReRamCMO(acceptance_percent=2),
    StateIndependentDevice(),
    FaultyDevice(device=PCMDevice(), p_zero=0.1, p_random=0.2),
]
every_device = pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)


def targets(device: Device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    low = getattr(device, "g_min_us", 0.0)
    return torch.linspace(low, device.g_max_us, 12, dtype=dtype)


@pytest.fixture
def registry(monkeypatch):
    """Keep devices that a test registers out of the other tests."""
    monkeypatch.setattr(base._REGISTRY, "_classes", dict(base._REGISTRY._classes))


@every_device
def test_device_survives_its_dict_form(device):
    assert device_from_dict(device.to_dict()) == device


@every_device
def test_dict_form_holds_plain_json_types(device):
    def check(value):
        assert isinstance(value, str | bool | int | float | list | dict | None)
        for entry in (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        ):
            check(entry)

    check(device.to_dict())


def test_every_registered_device_is_tested_here():
    assert {device.name for device in DEVICES} == set(list_devices())


@every_device
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_device_keeps_dtype_and_shape_and_leaves_its_inputs_alone(device, dtype):
    g = targets(device, dtype).view(3, 4)
    before = g.clone()
    g_prog, nu = device.program_chip(g, generator=generator())
    g_read = device.read(g_prog, nu, g, 86400.0, generator=generator())
    for tensor in (g_prog, nu, g_read):
        assert tensor.dtype == dtype
        assert tensor.shape == g.shape
        assert tensor.isfinite().all()
        assert tensor.data_ptr() != g.data_ptr()
    assert torch.equal(g, before)


@every_device
def test_same_seed_gives_the_same_chip_and_read(device):
    def chip():
        source = generator(3)
        g_prog, nu = device.program_chip(targets(device), generator=source)
        return g_prog, nu, device.read(g_prog, nu, targets(device), 1.0, generator=source)

    assert all(torch.equal(a, b) for a, b in zip(chip(), chip(), strict=True))


@every_device
def test_conductance_never_is_negative(device):
    g = targets(device).expand(1000, -1)
    g_prog, nu = device.program_chip(g, generator=generator())
    assert (g_prog >= 0).all()
    assert (device.read(g_prog, nu, g, 86400.0, generator=generator()) >= 0).all()


@every_device
def test_negative_time_is_refused(device):
    g = targets(device)
    with pytest.raises(ValueError, match="finite and not negative"):
        device.read(g, torch.zeros_like(g), g, -1.0)


@every_device
def test_device_is_frozen(device):
    with pytest.raises(AttributeError, match=r"cannot assign|can't set|no setter"):
        device.g_max_us = 1.0


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown device name 'pcn'; known are .*hermes, ideal"):
        device_from_dict({"name": "pcn"})


def test_missing_name_is_refused():
    with pytest.raises(ValueError, match="unknown device name None"):
        device_from_dict({"g_max_us": 25.0})


def test_unknown_field_lists_the_fields():
    with pytest.raises(ValueError, match=r"device 'ideal' has no field g_max; .* g_max_us"):
        device_from_dict({"name": "ideal", "g_max": 25.0})


def test_missing_field_is_named():
    with pytest.raises(ValueError, match="'custom_drift' needs a value for g_table_us"):
        device_from_dict({"name": "custom_drift"})


def test_other_than_a_mapping_is_refused():
    with pytest.raises(TypeError, match="described by a mapping"):
        device_from_dict("pcm")


def test_own_device_is_one_small_class(registry):
    @register_device
    @dataclass(frozen=True)
    class Steady(Device):
        name: ClassVar[str] = "steady"
        g_max_us: float = 50.0
        prog_std_us: float = 0.5

        def program(self, g_target_us, *, generator=None):
            return add_conductance_noise(g_target_us, self.prog_std_us, generator=generator)

    device = device_from_dict({"name": "steady", "prog_std_us": 0.0})
    g = torch.rand(5)
    g_prog, nu = device.program_chip(g)
    assert torch.equal(device.read(g_prog, nu, g, 1e9), g)
    device.check_converter(SinglePair())
    assert device.to_dict() == {"name": "steady", "g_max_us": 50.0, "prog_std_us": 0.0}


def test_two_devices_of_one_name_are_refused(registry):
    with pytest.raises(ValueError, match="'pcm' already names the device PCMDevice"):

        @register_device
        @dataclass(frozen=True)
        class Other(IdealDevice):
            name: ClassVar[str] = "pcm"


def test_class_that_is_no_frozen_dataclass_is_refused(registry):
    with pytest.raises(TypeError, match="must be a frozen dataclass"):

        @register_device
        class Loose:
            name: ClassVar[str] = "loose"

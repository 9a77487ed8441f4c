"""Fitted memory devices: how they are programmed, drift and are read.

Importing the package registers every device and converter by name.
"""

from aimc_lightning.devices.base import Device, device_from_dict, list_devices, register_device
from aimc_lightning.devices.converter_base import (
    ConductanceConverter,
    converter_from_dict,
    list_converters,
    register_converter,
)
from aimc_lightning.devices.converters import (
    CustomPair,
    DualPair,
    NPair,
    ShapedPair,
    SingleDevice,
    SinglePair,
)
from aimc_lightning.devices.faulty import FaultyDevice
from aimc_lightning.devices.hermes import HermesDevice
from aimc_lightning.devices.pcm import CustomDriftDevice, PCMDevice
from aimc_lightning.devices.reram import ReRamCMO, ReRamWan2022
from aimc_lightning.devices.simple import IdealDevice, StateIndependentDevice

__all__ = [
    "ConductanceConverter",
    "CustomDriftDevice",
    "CustomPair",
    "Device",
    "DualPair",
    "FaultyDevice",
    "HermesDevice",
    "IdealDevice",
    "NPair",
    "PCMDevice",
    "ReRamCMO",
    "ReRamWan2022",
    "ShapedPair",
    "SingleDevice",
    "SinglePair",
    "StateIndependentDevice",
    "converter_from_dict",
    "device_from_dict",
    "list_converters",
    "list_devices",
    "register_converter",
    "register_device",
]

"""Versions and hardware of a run, for the record."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

_PACKAGES = ("aimc-lightning", "torch", "lightning", "numpy", "torchmetrics", "datasets")


def collect_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers.

    Returns:
        Version by name; packages that are not installed are left out.
    """
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def describe_hardware() -> str:
    """Return the machine in a few words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {platform.machine()} {platform.system()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores, {platform.machine()} {platform.system()}"

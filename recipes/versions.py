"""Versions and hardware of a run, for the record."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

import torch

_PACKAGES = ("aimc-lightning", "torch", "lightning", "numpy", "torchmetrics", "datasets")


def collect_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers.

    Returns:
        Version by name; packages that are not installed are left out. ``git`` is the revision of
        the code, with ``-dirty`` after it if files were changed; left out outside a checkout.
    """
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    revision = _git_revision()
    return versions if revision is None else {**versions, "git": revision}


def _git_revision() -> str | None:
    """Return the revision of the checkout that the package runs from, if it does."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    folder = str(files("aimc_lightning"))
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def describe_hardware() -> str:
    """Return the machine in a few words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {platform.machine()} {platform.system()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores, {platform.machine()} {platform.system()}"

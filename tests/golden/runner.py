"""Evaluate golden files and report how far the library is from each."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from tests.golden.compare import Check
from tests.golden.families_chip import CHIP_FAMILIES
from tests.golden.families_device import DEVICE_FAMILIES
from tests.golden.families_layer import LAYER_FAMILIES
from tests.golden.families_signal import SIGNAL_FAMILIES
from tests.golden.vector import UnknownSetting, Vector

FAMILIES: dict[str, Callable[[Vector], Iterator[Check]]] = {
    **DEVICE_FAMILIES,
    **SIGNAL_FAMILIES,
    **CHIP_FAMILIES,
    **LAYER_FAMILIES,
}


class Report(NamedTuple):
    """Result of one file: its worst check, or why it could not be evaluated."""

    file: str
    family: str
    worst: Check | None
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return self.worst is not None and self.worst.ratio <= 1.0

    def line(self) -> str:
        """Return one line of the table."""
        verdict = "pass" if self.passed else "FAIL"
        if self.worst is None:
            return f"{verdict}  {self.file:<32} {self.family:<24} {self.problem}"
        return (
            f"{verdict}  {self.file:<32} {self.family:<24} deviation {self.worst.deviation:<10.3g} "
            f"allowed {self.worst.allowed:<10.3g} {self.worst.label}"
        )


def evaluate_file(path: Path) -> Report:
    """Compare the library with one golden file."""
    try:
        vector = Vector(path)
    except (OSError, KeyError, ValueError) as error:
        return Report(path.name, path.stem, None, f"unreadable: {error}")
    family = FAMILIES.get(vector.family)
    if family is None:
        known = ", ".join(sorted(FAMILIES))
        return Report(path.name, vector.family, None, f"unknown family; known are {known}")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            checks = list(family(vector))
        vector.finish()
    except UnknownSetting as error:
        return Report(path.name, vector.family, None, f"refused: {error}")
    except Exception as error:  # one broken file must not hide the others
        return Report(path.name, vector.family, None, f"{type(error).__name__}: {error}")
    return Report(path.name, vector.family, max(checks, key=lambda check: check.ratio))


def golden_files(folder: Path) -> list[Path]:
    """Return the golden files of a folder in alphabetical order."""
    return sorted(folder.glob("*.npz"))

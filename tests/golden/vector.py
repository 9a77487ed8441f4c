"""One golden file: arrays and settings, each of which must be used or the file is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

_FILE_NAME = re.compile(r"(?P<family>[a-z][a-z0-9_]*?)_(?P<number>\d+)\.npz")
# Where the numbers come from and remarks for readers; they set nothing.
_REMARKS = frozenset({"generator", "note", "error", "statistics", "first_time", "readout", "alpha"})


class UnknownSetting(ValueError):
    """A setting or an array that the runner does not know how to honour."""


class Vector:
    """A golden file with bookkeeping of what has been read.

    Args:
        path: File ``<family>_<number>.npz``.
    """

    def __init__(self, path: Path) -> None:
        match = _FILE_NAME.fullmatch(path.name)
        self.path = path
        self.family = match["family"] if match else path.stem
        with np.load(path, allow_pickle=False) as data:
            self._arrays = {key: data[key] for key in data.files if key != "config"}
            self._config: dict[str, Any] = json.loads(str(data["config"]))
        self._unread = {*self._arrays, *self._config} - _REMARKS

    def __contains__(self, key: str) -> bool:
        return key in self._config or key in self._arrays

    def array(self, key: str) -> np.ndarray:
        """Return an array in float64 (integers stay integers)."""
        self._unread.discard(key)
        if key not in self._arrays:
            raise UnknownSetting(f"array {key!r} is missing")
        values = self._arrays[key]
        return values.astype(np.float64) if values.dtype.kind == "f" else values

    def tensor(self, key: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return an array as a tensor, by default in the precision it was made in."""
        return torch.from_numpy(np.array(self.array(key))).to(dtype)

    def number(self, key: str, default: float | None = None) -> float:
        """Return a numeric setting."""
        value = self._setting(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnknownSetting(f"{key} is {value!r}, which is not a number")
        return float(value)

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a numeric setting that must be whole."""
        value = self.number(key, default)
        if value != int(value):
            raise UnknownSetting(f"{key} is {value!r}, which is not a whole number")
        return int(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a setting that is a list of numbers."""
        value = self._setting(key, None)
        if not isinstance(value, list):
            raise UnknownSetting(f"{key} is {value!r}, which is not a list of numbers")
        return tuple(float(entry) for entry in value)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Return a setting that is true or false."""
        value = self._setting(key, default)
        if not isinstance(value, bool):
            raise UnknownSetting(f"{key} is {value!r}, which is neither true nor false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Return a setting that is a word or a sentence."""
        value = self._setting(key, default)
        if not isinstance(value, str):
            raise UnknownSetting(f"{key} is {value!r}, which is not a text")
        return value

    def expect(self, key: str, *allowed: object) -> None:
        """Require that a setting, if present, has one of the values that the runner honours."""
        self._unread.discard(key)
        if key in self._config and self._config[key] not in allowed:
            raise UnknownSetting(f"{key} is {self._config[key]!r}, but only {allowed} is known")

    def finish(self) -> None:
        """Raise if something in the file was not used."""
        if self._unread:
            raise UnknownSetting(f"unknown settings or arrays: {', '.join(sorted(self._unread))}")

    def _setting(self, key: str, default: object) -> object:
        self._unread.discard(key)
        if key in self._config:
            return self._config[key]
        if default is None:
            raise UnknownSetting(f"setting {key!r} is missing")
        return default

"""Outcome of ``assign_digital``: table, and the form that conversion and YAML take."""

import csv
import dataclasses
import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from rich.table import Table

from aimc_lightning.config import TileConfig
from aimc_lightning.devices.base import Device
from aimc_lightning.devices.converter_base import ConductanceConverter
from aimc_lightning.evaluation.rows import DriftRow


@dataclass(frozen=True)
class Assignment:
    """Layers to spare, found by :func:`~aimc_lightning.evaluation.layers.assign.assign_digital`.

    Example:
        >>> found = Assignment(("head",), "digital", 0.99, 0.995, 0.1, {"head": None})
        >>> found.exclude
        ['head']

    Attributes:
        names: The layers, in the order of the model; what lies within them is meant as well.
        spare: ``"digital"`` or ``"device_noise"``.
        target: Normalised accuracy that was wanted.
        a_star: Normalised accuracy that was measured, mean over chips.
        share: Share of all weights on tiles that these layers hold.
        settings: Config of each layer, ``None`` for a digital one.
        scores: Normalised accuracy of every set that was measured, in this order.
        complete: Whether every smaller set is ruled out, if sparing more never hurts; else the
            evaluations were used up.
        rows: All measurements.
    """

    names: tuple[str, ...]
    spare: str
    target: float
    a_star: float
    share: float
    settings: dict[str, TileConfig | None]
    scores: dict[tuple[str, ...], float] | None = None
    complete: bool = False
    rows: tuple[DriftRow, ...] = ()

    @property
    def evaluations(self) -> int:
        """Number of sets that were measured."""
        return len(self.scores or {})

    @property
    def layers(self) -> dict[str, TileConfig | None]:
        """What ``convert_to_analog`` and ``AnalogTraining`` take as ``layers``."""
        return {glob.escape(name): config for name, config in self.settings.items()}

    @property
    def exclude(self) -> list[str]:
        """What they take as ``exclude``; empty if the layers stay analog."""
        return [name for name, config in self.layers.items() if config is None]

    def to_yaml(self) -> str:
        """Return the ``init_args`` of ``AnalogTraining`` that spare these layers, as YAML."""
        arguments: dict[str, Any] = {"exclude": self.exclude}
        if self.spare != "digital":
            arguments = {
                "layers": {
                    name: None if config is None else _plain(config)
                    for name, config in self.layers.items()
                }
            }
        return yaml.safe_dump(arguments, sort_keys=False)

    def to_csv(self, path: str | Path) -> None:
        """Write one line per measured set: names, joined by spaces, and A*."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["layers", "a_star"])
            writer.writerows(
                [" ".join(names), repr(score)] for names, score in (self.scores or {}).items()
            )

    @property
    def title(self) -> str:
        """The outcome in words."""
        how = "digital" if self.spare == "digital" else "without device noise"
        names = ", ".join(self.names) or "no layer"
        end = "no smaller set is left" if self.complete else "evaluations used up"
        return (
            f"{names} {how}: {100 * self.share:.1f} % of the weights, A* "
            f"{100 * self.a_star:.2f} % (wanted {100 * self.target:g} %); "
            f"sets measured: {self.evaluations}, {end}"
        )

    def __str__(self) -> str:
        """Return the outcome, and all sets that were measured."""
        lines = [
            f"{100 * score:7.2f} %  {', '.join(names) or 'none'}"
            for names, score in (self.scores or {}).items()
        ]
        return "\n".join([self.title, *lines])

    def __rich__(self) -> Table:
        """Return the same for rich consoles."""
        table = Table("A*", "spared layers", title=self.title, box=None, padding=(0, 1))
        for names, score in (self.scores or {}).items():
            table.add_row(f"{100 * score:.2f} %", ", ".join(names) or "none")
        return table


def _plain(value: Any) -> Any:  # noqa: ANN401 - a setting
    """Return settings as LightningCLI reads them: devices and converters by their class."""
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if not dataclasses.is_dataclass(value):
        return value
    fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Device | ConductanceConverter):
        kind = type(value)
        return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": fields}
    return fields

"""Which settings of ``AnalogTraining`` were given, by callback or strategy."""

from collections.abc import Mapping, Sequence
from typing import Any

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import Selector


def analog_settings(
    config: TileConfig | None,
    preset: str | None,
    include: Sequence[Selector] | None,
    exclude: Sequence[Selector],
    layers: Mapping[str, TileConfig | str | None] | None,
) -> dict[str, Any]:
    """Return those arguments of ``AnalogTraining`` that were given, empty if none was.

    Example:
        >>> analog_settings(None, None, None, ["head"], None)
        {'exclude': ['head']}
    """
    given = {"config": config, "preset": preset, "include": include, "layers": layers}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return {**settings, "exclude": exclude} if exclude else settings

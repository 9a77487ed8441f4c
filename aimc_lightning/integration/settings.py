"""Which settings of ``AnalogTraining`` were given, by callback or strategy."""

from collections.abc import Mapping, Sequence
from typing import Any

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import Selector

_DEFAULT_PRESET = "standard_pcm"  # its settings are those of TileConfig()


def analog_settings(
    config: TileConfig | None,
    preset: str | None,
    include: Sequence[Selector] | None,
    exclude: Sequence[Selector],
    layers: Mapping[str, TileConfig | str | None] | None,
) -> dict[str, Any]:
    """Return those arguments of ``AnalogTraining`` that were given, empty if none was.

    Raises:
        ValueError: If ``config`` is given beside another preset than the one it starts from.

    Example:
        >>> analog_settings(None, None, None, ["head"], None)
        {'exclude': ['head']}
    """
    if config is not None and preset not in (None, _DEFAULT_PRESET):
        raise ValueError(
            f"config and preset={preset!r} are both given, and only one of them can hold: leave "
            f"preset out, and change its values by config=get_preset({preset!r}).with_values(...)."
        )
    given = {"config": config, "preset": preset, "include": include, "layers": layers}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return {**settings, "exclude": exclude} if exclude else settings

"""Whether a model is converted as a checkpoint was, by the analog metadata of both."""

from typing import Any

from aimc_lightning.config import TileConfig


def check_same_conversion(here: dict[str, Any], there: dict[str, Any], *, training: bool) -> None:
    """Raise ``ValueError`` if a model is not converted as the metadata of a checkpoint says.

    Args:
        here: Metadata of the model, see :func:`~aimc_lightning.checkpoint.analog_metadata`.
        there: Metadata of the checkpoint.
        training: Whether training goes on. A chip that is measured has only some of the settings,
            see :meth:`~aimc_lightning.config.TileConfig.as_measured`; the others may differ.
    """
    mine, theirs = _configs_by_layer(here, training), _configs_by_layer(there, training)
    if set(mine) != set(theirs):
        raise ValueError(
            "The layer selection changed. Analog in the checkpoint only: "
            f"{sorted(set(theirs) - set(mine)) or 'none'}; analog in this model only: "
            f"{sorted(set(mine) - set(theirs)) or 'none'}. Use the include and exclude of the "
            f"first run (include={there['include']}, exclude={there['exclude']})."
        )
    for name, config in theirs.items():
        if mine[name] != config:
            remedy = (
                "Go on with the config of the first run, or start a new run from the checkpoint's "
                "weights."
                if training
                else "Use the config it was trained with, or measure its weights on other tiles "
                "with 'aimc-lightning evaluate --remap'."
            )
            changed = ", ".join(_differences(config, mine[name])[:5])
            raise ValueError(
                f"The tile config of layer {name!r} differs from the checkpoint's: {changed}. "
                f"{remedy}"
            )


def _configs_by_layer(metadata: dict[str, Any], training: bool) -> dict[str, dict[str, Any]]:
    configs = {
        layer: TileConfig.from_dict(entry["config"])
        for entry in metadata["conversions"]
        for layer in entry["layers"]
    }
    return {
        layer: (config if training else config.as_measured()).to_dict()
        for layer, config in configs.items()
    }


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:  # noqa: ANN401
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        return [
            line
            for name in names
            for line in _differences(old.get(name), new.get(name), f"{prefix}{name}.")
        ]
    return [] if old == new else [f"{prefix[:-1]} was {old!r} and is {new!r}"]

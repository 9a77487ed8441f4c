"""The tiles that the callbacks of a configuration ask for."""

from typing import Any, TypeVar

from lightning.pytorch import Callback

from aimc_lightning.checkpoint import analog_metadata
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.recipes.lightning_cli import AimcCLI
from aimc_lightning.same_conversion import check_same_conversion

CallbackT = TypeVar("CallbackT", bound=Callback)


def callback_of(cli: AimcCLI, kind: type[CallbackT]) -> CallbackT:
    """Return the callback of a kind that a configuration names.

    Raises:
        ValueError: If it names none, or several.
    """
    found = [callback for callback in cli.trainer.callbacks if isinstance(callback, kind)]
    if len(found) != 1:
        raise ValueError(
            f"hwa.yaml and drift.yaml have to name {kind.__name__} once under trainer.callbacks, "
            f"one does {len(found)} times."
        )
    return found[0]


def tiles_of(training: AnalogTraining) -> dict[str, Any]:
    """Return what a callback would convert with, as arguments of ``convert_to_analog``."""
    names = ("include", "exclude", "layers")
    return {"config": training.tile_config, **{name: getattr(training, name) for name in names}}


def check_same_tiles(hwa: AimcCLI, drift: AimcCLI) -> None:
    """Raise ``ValueError`` if the tiles that are measured are not those that are trained.

    Args:
        hwa: The stage that trains; its network becomes analog.
        drift: The stage that measures; the same.
    """
    for cli in (hwa, drift):
        convert_to_analog(cli.model, **tiles_of(callback_of(cli, AnalogTraining)))
    here, there = analog_metadata(drift.model), analog_metadata(hwa.model)
    try:
        check_same_conversion(here, there, training=False)
    except ValueError as error:
        raise ValueError(
            "'hwa' would train other tiles than 'drift' measures; give --set of AnalogTraining for "
            f"both. {error}"
        ) from error

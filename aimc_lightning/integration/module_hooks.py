"""Checkpoint hooks on the module itself, so that they also run where callbacks are not asked.

Lightning calls no callback for ``save_weights_only`` checkpoints, and asks callbacks about a loaded
checkpoint only after its weights were put into the module.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from aimc_lightning.checkpoint import (
    METADATA_KEY,
    analog_metadata,
    read_metadata,
)
from aimc_lightning.conversion import Selector
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.same_conversion import check_same_conversion

_Hook = Callable[[dict[str, Any]], None]


def install_checkpoint_hooks(
    module: LightningModule, include: Sequence[Selector] | None, exclude: Sequence[Selector]
) -> None:
    """Let checkpoints of a module carry the analog metadata, and check those it loads.

    The hooks stay on the module, so that ``trainer.save_checkpoint`` after ``fit``, or a Trainer
    without ``AnalogTraining``, also writes complete checkpoints. A second call does nothing.

    Args:
        module: Module that is or will be analog.
        include: Selection of the conversion, for information.
        exclude: The same.
    """
    if _is_ours(vars(module).get("on_save_checkpoint"), _save_with_metadata):
        return
    # Partials rather than closures: deepcopy and pickle of a module then bind them to the copy.
    save: _Hook = functools.partial(
        _save_with_metadata,
        module,
        module.on_save_checkpoint,
        include,
        exclude,
    )
    load: _Hook = functools.partial(_check_then_load, module, module.on_load_checkpoint)
    vars(module).update(on_save_checkpoint=save, on_load_checkpoint=load)


def _is_ours(hook: object, function: Callable[..., None]) -> bool:
    return isinstance(hook, functools.partial) and hook.func is function


def _save_with_metadata(
    module: LightningModule,
    original: _Hook,
    include: Sequence[Selector] | None,
    exclude: Sequence[Selector],
    checkpoint: dict[str, Any],
) -> None:
    if analog_layers(module):
        checkpoint[METADATA_KEY] = analog_metadata(module, include, exclude)
    original(checkpoint)


def _check_then_load(module: LightningModule, original: _Hook, checkpoint: dict[str, Any]) -> None:
    metadata = read_metadata(checkpoint)
    fitting = module._trainer is not None and module.trainer.state.fn == TrainerFn.FITTING
    if metadata is not None:
        check_same_conversion(analog_metadata(module), metadata, training=fitting)
    elif fitting:
        raise ValueError(
            "This checkpoint is digital: its optimizer knows nothing of the analog parameters, so "
            "training cannot be resumed from it. Load its weights into the module first "
            f"({type(module).__name__}.load_from_checkpoint(path)) and call fit without ckpt_path."
        )
    else:
        _complete_digital_weights(module, checkpoint)
    original(checkpoint)


def _complete_digital_weights(module: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Add the module's own analog state to the weights of a digital checkpoint."""
    state = checkpoint["state_dict"]
    analog = {
        key: value
        for name in analog_layers(module)
        for key, value in module.state_dict().items()
        if key.startswith(f"{name}.analog.") and key not in state
    }
    if analog:
        rank_zero_info(
            f"The checkpoint is digital; {len(analog)} analog values (input ranges, scales) stay "
            "as they are."
        )
        state.update(analog)

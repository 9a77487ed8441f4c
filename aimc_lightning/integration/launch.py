"""What the strategies do before Lightning: add the callback, convert before a fork or spawn."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.configure import cancel_conversion


def add_callback(trainer: Trainer, settings: Mapping[str, Any] | None) -> None:
    """Add an ``AnalogTraining`` callback, before all others, if the Trainer has none.

    Args:
        trainer: Trainer before its set-up.
        settings: Arguments of the callback. If empty, one that is there already is right whatever
            its settings are; ``None`` adds none.

    Raises:
        ValueError: If a callback is there with other settings.
    """
    if settings is None:
        return
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    present = [callback for callback in callbacks if isinstance(callback, AnalogTraining)]
    if not present:
        callbacks.insert(0, AnalogTraining(**settings))
    elif settings and all(_key(AnalogTraining(**settings)) != _key(own) for own in present):
        raise ValueError(
            f"{type(trainer.strategy).__name__} and the callback AnalogTraining have different "
            "settings (config, preset, include, exclude or layers). Give them to the callback "
            f"alone, and choose the strategy without any; the strategy got {', '.join(settings)}."
        )


def _key(callback: AnalogTraining) -> str:
    return callback.state_key.partition("[")[2]  # without the class, which may be a subclass


class ConvertingLauncher(_MultiProcessingLauncher):
    """Forks or spawns processes after the module was converted in the main process.

    Lightning's own launcher copies the trained weights back into a module that is still digital,
    and drops what does not fit without a word. Forked processes compute with one thread each, as
    several may wait for ever; ``aimc_ddp`` has several. This relies on private names of Lightning;
    ``tests/integration/test_strategy.py`` holds them fast.
    """

    #: Tells ``check_trainer`` that forked and spawned processes are no reason to refuse.
    converts_module = True
    _parameters: frozenset[str] | None = None

    def launch(
        self,
        function: Callable[..., Any],
        *args: Any,  # noqa: ANN401
        trainer: Trainer | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401 - as in the base class
        """Convert the Trainer's module, then launch."""
        self._parameters = None
        if trainer is not None:
            add_callback(trainer, self._strategy.analog_settings)  # type: ignore[attr-defined]
            callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
            analog = [callback for callback in callbacks if isinstance(callback, AnalogTraining)]
            if analog:
                module = trainer.lightning_module
                _convert(trainer, module, analog)
                self._parameters = frozenset(name for name, _ in module.named_parameters())
        return super().launch(function, *args, trainer=trainer, **kwargs)

    def _wrapping_function(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        if self._start_method == "fork":
            # Threads of OpenMP do not survive a fork: with several, the first large product would
            # wait for ever if the main process has ever computed with several.
            os.environ["OMP_NUM_THREADS"] = "1"  # else Lightning asks for one per core
            torch.set_num_threads(1)
        super()._wrapping_function(*args, **kwargs)

    def check_parameters(self, module: LightningModule) -> None:
        """Raise if a worker's module has parameters that the main process does not have.

        Raises:
            ValueError: Says where to make them.
        """
        names = {name for name, _ in module.named_parameters()}
        if self._parameters is not None and (late := sorted(names - self._parameters)):
            raise ValueError(f"{', '.join(late[:5])}: {_LATE}")


_LATE = (
    "what setup() makes exists in the worker processes only, and would neither be converted nor "
    "come back from them. Make layers in __init__ or configure_model, or choose "
    "strategy='aimc_ddp', which starts the script again for each process."
)


def _convert(trainer: Trainer, module: LightningModule, callbacks: list[AnalogTraining]) -> None:
    module.trainer = trainer  # the Trainer attaches itself only in the workers
    stage = trainer.state.fn
    assert stage is not None
    try:
        for callback in callbacks:
            callback.setup(trainer, module, stage.value)
        module.configure_model()
    except ValueError as error:
        if next(module.parameters(), None) is None:
            raise ValueError(f"The module has no layer: {_LATE}") from error
        raise
    finally:
        cancel_conversion(module)

"""Run a conversion at the one right moment: straight after ``LightningModule.configure_model``.

Earlier, layers made in ``setup`` or ``configure_model`` do not exist yet; later, weights have been
restored and optimizers made without the analog parameters. See docs of ``AnalogTraining``.
"""

import functools
from collections.abc import Callable

from lightning.pytorch import LightningModule

_HOOK = "configure_model"


def convert_after_configure_model(
    module: LightningModule, convert: Callable[[LightningModule], None]
) -> None:
    """Arrange that ``convert(module)`` runs once, after the module's own ``configure_model``.

    Args:
        module: The module whose hook is wrapped on the instance. The wrapper takes itself off when
            it is called. Several wrappers nest; the first installed converts first.
        convert: Called with ``module``; has to work in place.

    Example:
        >>> module = LightningModule()
        >>> convert_after_configure_model(module, lambda m: print("converted"))
        >>> module.configure_model()
        converted
        >>> module.configure_model()
    """
    previous = vars(module).get(_HOOK)
    # A partial, because deepcopy and pickle of a module then also rebind the wrapper to the copy.
    # No functools.wraps: Lightning looks through __wrapped__, would find its own empty hook there
    # and would not call ours.
    vars(module)[_HOOK] = functools.partial(_configure_then_convert, module, previous, convert)


def cancel_conversion(module: LightningModule) -> None:
    """Take off wrappers that were never called, for example because set-up failed."""
    while _is_wrapper(hook := vars(module).get(_HOOK)):
        assert hook is not None
        _restore(module, hook.args[1])


def _configure_then_convert(
    module: LightningModule,
    previous: Callable[[], None] | None,
    convert: Callable[[LightningModule], None],
) -> None:
    _restore(module, previous)
    module.configure_model()
    convert(module)


def _restore(module: LightningModule, previous: Callable[[], None] | None) -> None:
    if previous is None:
        vars(module).pop(_HOOK, None)
    else:
        vars(module)[_HOOK] = previous


def _is_wrapper(hook: object) -> bool:
    return isinstance(hook, functools.partial) and hook.func is _configure_then_convert

"""Which networks a checkpoint may name: only registered constructors are ever called.

A ``config.json`` holds a name, never an import path, so a file cannot choose what code runs.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

from torch import nn

ConstructorT = TypeVar("ConstructorT", bound=Callable[..., nn.Module])

_ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {}


def register_architecture(name: str, build: ConstructorT) -> ConstructorT:
    """Allow checkpoints to name a constructor; the entries of the zoo are registered already.

    Args:
        name: What ``config.json`` will say.
        build: Class or function that returns the digital module, with plain arguments.

    Returns:
        ``build`` itself.

    Raises:
        ValueError: If the name stands for another constructor.

    Example:
        >>> build = register_architecture("two_layers", lambda: nn.Sequential(nn.Linear(2, 2)))
        >>> build_architecture("two_layers", {})
        Sequential(
          (0): Linear(in_features=2, out_features=2, bias=True)
        )
    """
    known = _ARCHITECTURES.get(name, build)
    if _identity(known) != _identity(build):
        raise ValueError(
            f"Architecture {name!r} is registered as {'.'.join(_identity(known))}; choose another "
            f"name for {'.'.join(_identity(build))}."
        )
    _ARCHITECTURES[name] = build
    return build


def build_architecture(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the digital module of a checkpoint.

    Args:
        name: Name given to :func:`register_architecture`.
        arguments: Arguments of the constructor.

    Raises:
        ValueError: If the name is not registered, or the constructor does not take the arguments.
    """
    if name not in _ARCHITECTURES:
        close = difflib.get_close_matches(name, _ARCHITECTURES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"The checkpoint is of architecture {name!r}, which is not registered; registered are "
            f"{', '.join(sorted(_ARCHITECTURES)) or 'none'}.{hint} If the network is yours, call "
            f"register_architecture({name!r}, YourClass) before loading."
        )
    build = _ARCHITECTURES[name]
    try:
        inspect.signature(build).bind(**arguments)
        return build(**arguments)
    except TypeError as error:
        raise ValueError(
            f"Architecture {name!r} cannot be built from the checkpoint's arguments "
            f"({', '.join(arguments) or 'none'}): {error}. Load it with the version of the network "
            "that was saved, or override single arguments in from_pretrained."
        ) from error


def architecture_of(module: nn.Module) -> str:
    """Return the registered name of a module's constructor.

    Args:
        module: Instance of a registered class, or of what a registered function returns.

    Raises:
        ValueError: If there is none, or more than one.
    """
    names = [name for name, build in _ARCHITECTURES.items() if _builds(build) is type(module)]
    if len(names) != 1:
        raise ValueError(
            f"{type(module).__name__} is registered as {', '.join(names) or 'no architecture'}: "
            "name one, save_pretrained(module, folder, architecture='...'), after "
            f"register_architecture('...', {type(module).__name__})."
        )
    return names[0]


def _builds(build: Callable[..., nn.Module]) -> Any:  # noqa: ANN401
    """Return the class that a constructor makes, as far as it says."""
    return build if isinstance(build, type) else get_type_hints(build).get("return")


def _identity(build: Callable[..., nn.Module]) -> tuple[str, str]:
    """Return where a constructor is defined; reloading its module makes no other one of it."""
    return build.__module__, build.__qualname__

"""The part of a Lightning module that a user names in a setting."""

from torch import nn


def submodule(module: nn.Module, name: str, owner: str) -> nn.Module:
    """Return a submodule by name.

    Args:
        module: Module that holds it.
        name: Its name, with dots below the first level.
        owner: Class whose argument ``module`` names it.

    Raises:
        ValueError: If there is no such submodule; the message names those of the first level.

    Example:
        >>> submodule(nn.Sequential(nn.ReLU()), "0", "CudaGraph")
        ReLU()
    """
    try:
        return module.get_submodule(name)
    except AttributeError:
        known = ", ".join(n for n, _ in module.named_children())
        raise ValueError(
            f"{owner}(module={name!r}): there is no such submodule; name one of {known}."
        ) from None

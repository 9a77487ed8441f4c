"""Layers whose parameters are cut up over processes by torch's ``fully_shard`` (FSDP2).

During a layer's forward and backward pass torch puts the whole parameter in place of the shard, so
the tiles see whole weights there. Between passes a process holds a part, of which neither column
maxima nor spreads may be taken: what looks at weights then does so inside :func:`whole_parameters`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

# Where torch and this file keep what they add to a sharded module, private names of torch that
# tests/nn/test_sharded.py holds fast.
_ADDED_BY = ("torch.distributed.fsdp", "torch.distributed._composable", __name__)
_STATE = "__composable_api_state_key"


def is_sharded(value: object) -> bool:
    """Return whether a tensor is spread over processes (a ``DTensor``).

    Example:
        >>> is_sharded(torch.ones(1))
        False
    """
    return hasattr(value, "full_tensor")


def has_shards(model: nn.Module) -> bool:
    """Return whether a parameter of a model is spread over processes.

    Example:
        >>> has_shards(nn.Linear(2, 2))
        False
    """
    return any(map(is_sharded, model.parameters()))


def whole(value: Any) -> Any:  # noqa: ANN401 - any leaf of a state dict
    """Return the whole of a sharded tensor, a copy; anything else as it is.

    All processes have to call it, in the same order.
    """
    return value.detach().full_tensor() if is_sharded(value) else value


@torch.no_grad()
def local_part(value: Any) -> Any:  # noqa: ANN401 - a DTensor or a plain tensor
    """Return what this process holds of a tensor; needs no other process."""
    return value.detach().to_local() if is_sharded(value) else value


@torch.no_grad()
def cut_like(value: Tensor, like: Any) -> Tensor:  # noqa: ANN401 - a DTensor or a plain tensor
    """Return a whole tensor, equal in all processes, spread as another tensor of its shape is.

    Args:
        value: Whole tensor.
        like: Gives the placement; if it is not sharded, ``value`` is returned.
    """
    if not is_sharded(like) or is_sharded(value):
        return value
    # Imported here, since builds of torch without distributed training lack it.
    from torch.distributed.tensor import DTensor, Replicate

    mesh, placements = like.device_mesh, like.placements
    everywhere = [Replicate()] * mesh.ndim
    value = value.detach().to(like.to_local().device)
    return DTensor.from_local(value, mesh, everywhere).redistribute(mesh, placements)


@contextmanager
def whole_parameters(model: nn.Module, *, write: bool = False) -> Iterator[None]:
    """Let a model have whole parameters, and its modules their own classes, as if never sharded.

    No pass or read inside needs other processes; leaving it does not either, and entering it needs
    all of them. Gradients belong to the shards and are not there. Does nothing to a model without
    shards.

    Args:
        model: Model or layer, between passes.
        write: Keep what is written to the parameters; otherwise it is lost.
    """
    memo: dict[int, nn.Parameter] = {}
    hidden = [_hide(module, memo) for module in model.modules() if _concerned(module)]
    try:
        yield
    finally:
        for module, cls, kept, parameters in hidden:
            module.__class__ = cls
            for name, shard in parameters.items():
                if write:
                    with torch.no_grad():
                        shard.copy_(cut_like(getattr(module, name), shard))
                setattr(module, name, shard)
            vars(module).update(kept)


def return_no_views(_: nn.Module, __: Any, output: Any) -> Any:  # noqa: ANN401
    """Forward hook for a layer before it is sharded: copy outputs that are views.

    An in-place operation on a view would undo the hook by which torch gathers the weights for the
    backward pass.
    """
    return tree_map(
        lambda x: x.clone() if isinstance(x, Tensor) and x._is_view() else x,
        output,
    )


def make_whole_(model: nn.Module) -> None:
    """Give a model its whole parameters back for good; all processes have to call it.

    Optimizers made meanwhile keep the shards.
    """
    # Imported here, since builds of torch without distributed training lack it.
    from torch.distributed import _composable_state

    memo: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if _concerned(module):
            _hide(module, memo)
            # Without it torch would refuse to shard the module a second time.
            _composable_state._module_state_mapping.pop(module, None)


def _concerned(module: nn.Module) -> bool:
    return any(key.startswith(_STATE) for key in vars(module)) or any(
        map(is_sharded, module._parameters.values())
    )


def _hide(
    module: nn.Module, memo: dict[int, nn.Parameter]
) -> tuple[nn.Module, type, dict[str, Any], dict[str, Any]]:
    """Take everything sharded off a module; return it for the way back."""
    parameters: dict[str, Any] = {n: p for n, p in module._parameters.items() if is_sharded(p)}
    contents, cls = vars(module), type(module)
    kept = {key: value for key, value in contents.items() if key.startswith(_STATE)}
    for key in kept:
        del contents[key]
    if kept and _is_added(cls):
        # torch puts its class before the module's own.
        module.__class__ = next(base for base in cls.__mro__[1:] if not _is_added(base))
    for key, hooks in contents.items():
        if key.endswith("_hooks") and any(map(_is_added, hooks.values())):
            kept[key] = hooks
    for key in set(kept) & set(contents):
        own = {handle: hook for handle, hook in kept[key].items() if not _is_added(hook)}
        contents[key] = type(kept[key])(own)
    for name, shard in parameters.items():
        if id(shard) not in memo:
            memo[id(shard)] = nn.Parameter(whole(shard), shard.requires_grad)
        setattr(module, name, memo[id(shard)])
    return module, cls, kept, parameters


def _is_added(thing: Any) -> bool:  # noqa: ANN401 - a hook or a class
    thing = getattr(thing, "hook", thing)  # torch wraps hooks of load_state_dict
    return str(getattr(thing, "__module__", "")).startswith(_ADDED_BY)

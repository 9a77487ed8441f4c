"""Cut the weights of analog layers over processes, and what only all processes together know."""

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from aimc_lightning.nn.base import analog_layers
from aimc_lightning.nn.read_weights import only_read
from aimc_lightning.nn.sharded import cut_like, is_sharded, local_part, return_no_views, whole


def world_size() -> int:
    """Return the number of processes that work together, 1 without distributed training.

    Example:
        >>> world_size()
        1
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1


def shard_layers_(module: LightningModule, mesh: Any) -> None:  # noqa: ANN401 - torch's DeviceMesh
    """Cut weights and biases of the analog layers over a mesh of processes.

    Everything else stays whole in every process: ranges and scales of the tiles, which are scalars
    or short; the digital layers; and weights that another module reads as well, or reads without
    calling the layer, since torch puts the whole weight in its place during that layer's pass only.

    Args:
        module: Converted module, equal in all processes.
        mesh: Mesh of the processes, one dimension.
    """
    # Imported here, since builds of torch without distributed training lack it.
    from torch.distributed.fsdp import fully_shard

    owners = Counter(
        id(parameter) for part in module.modules() for parameter in part._parameters.values()
    )
    uncalled = {
        id(getattr(parent, name)) for parent in module.modules() for name in only_read(parent)
    }
    # Inner layers first: the projection inside an attention is a layer of its own.
    for layer in reversed(analog_layers(module).values()):
        tiles = {id(parameter) for parameter in layer.analog.parameters()}  # type: ignore[union-attr]
        ignored = {
            parameter
            for parameter in layer.parameters()
            if id(parameter) in tiles or owners[id(parameter)] > 1
        }
        alone = [p for p in layer.parameters(recurse=False) if p not in ignored]
        if alone and id(layer) not in uncalled:
            layer.register_forward_hook(return_no_views)
            fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=ignored)


@torch.no_grad()
def take_from_first_rank_(tensors: Iterable[Tensor]) -> None:
    """Give all processes the values of the first one, in place.

    Args:
        tensors: Parameters and buffers, in the same order in all processes; shards are left out.
    """
    if world_size() == 1:
        return
    for tensor in tensors:
        if tensor.numel() and not is_sharded(tensor):
            # As bytes, since not every backend knows every type.
            raw = tensor.detach().flatten().contiguous().view(torch.uint8)
            torch.distributed.broadcast(raw, 0)
            tensor.copy_(raw.view(tensor.dtype).view_as(tensor))


@torch.no_grad()
def average_gradients_(module: LightningModule) -> None:
    """Average over processes the gradients of parameters that every process holds whole.

    Those of sharded parameters are averaged by torch. An average of averages and new gradients is
    the average of all, so it may be called after each of several accumulated batches.
    """
    size = world_size()
    parameters = [p for p in module.parameters() if p.requires_grad and not is_sharded(p)]
    if size == 1 or not parameters:
        return
    present = torch.tensor([float(p.grad is not None) for p in parameters])
    wide = torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32
    flat = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten().to(wide) for p in parameters]
        + [present.to(parameters[0].device, wide)]
    )
    torch.distributed.all_reduce(flat)
    *means, counts = flat.split([p.numel() for p in parameters] + [len(parameters)])
    for parameter, mean, count in zip(parameters, means, counts.tolist(), strict=True):
        if count:
            parameter.grad = (mean / size).view_as(parameter).to(parameter.dtype)


@torch.no_grad()
def clip_gradient_norm_(parameters: Iterable[Tensor], limit: float) -> None:
    """Scale gradients so that their common 2-norm over all processes is at most a limit.

    torch's own function does not take sharded and whole gradients together.

    Args:
        parameters: Those of an optimizer.
        limit: Largest norm, positive.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    cut = [local_part(gradient) for gradient in gradients if is_sharded(gradient)]
    entire = [gradient for gradient in gradients if not is_sharded(gradient)]
    squares = sum((g.float().square().sum() for g in cut), torch.zeros((), device=_device(cut)))
    if world_size() > 1:
        torch.distributed.all_reduce(squares)
    squares = squares + sum(g.float().square().sum() for g in entire)
    # The small number as in torch.nn.utils.clip_grad_norm_.
    factor = (limit / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in cut + entire:
        gradient.mul_(factor.to(gradient.dtype))


@torch.no_grad()
def clip_gradient_value_(parameters: Iterable[Tensor], limit: float) -> None:
    """Clip gradients to ``-limit`` ... ``limit``, sharded and whole ones.

    Args:
        parameters: Those of an optimizer.
        limit: Largest magnitude, positive.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            local_part(parameter.grad).clamp_(-limit, limit)


def _device(tensors: list[Tensor]) -> torch.device | str:
    return tensors[0].device if tensors else "cpu"


def gathered_state(state: Any, keep: bool) -> Any:  # noqa: ANN401 - a state dict
    """Return a state dict with whole tensors on the CPU, as one process would have it.

    Args:
        state: State dict of a module or an optimizer; all processes have to give theirs.
        keep: Whether this process needs the result; otherwise it is empty, to save memory.
    """

    def gather(value: Any) -> Any:  # noqa: ANN401
        value = whole(value)
        return value.cpu() if keep and isinstance(value, Tensor) else value if keep else None

    result = tree_map(gather, state)
    return result if keep else {}


def cut_optimizer_state(state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return the state dict of one process's optimizer cut like the parameters of another one.

    Args:
        state: With whole tensors, as :meth:`torch.optim.Optimizer.state_dict` has them.
        optimizer: Optimizer of the same parameters in the same order.
    """
    groups = [group["params"] for group in optimizer.param_groups]
    parameters = list(itertools.chain.from_iterable(groups))
    keys = list(itertools.chain.from_iterable(group["params"] for group in state["param_groups"]))

    def cut(value: Any, like: nn.Parameter) -> Any:  # noqa: ANN401
        fits = isinstance(value, Tensor) and value.shape == like.shape
        return cut_like(value, like) if fits else value

    # Different numbers of parameters are for torch to refuse.
    own = dict(zip(keys, parameters, strict=False))
    return {
        **state,
        "state": {
            key: {name: cut(value, own[key]) for name, value in entry.items()}
            if isinstance(entry, dict) and key in own
            else entry
            for key, entry in state["state"].items()
        },
    }

"""Count the input vectors of each array of tiles in one real pass."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from aimc_lightning.nn.base import analog_arrays, analog_layers
from aimc_lightning.tiles.array import TileArray


def count_samples(batch: Any) -> int:  # noqa: ANN401 - any nesting
    """Return the length of the first axis of the first tensor in a batch.

    Args:
        batch: A tensor, or tensors nested in lists, tuples and mappings.

    Raises:
        ValueError: If there is no tensor.

    Example:
        >>> count_samples((torch.zeros(4, 2), torch.zeros(4)))
        4
    """
    if isinstance(batch, Tensor) and batch.dim() > 0:
        return len(batch)
    parts = batch.values() if isinstance(batch, Mapping) else batch
    if isinstance(batch, Mapping | list | tuple):
        for part in parts:
            if isinstance(part, Tensor | Mapping | list | tuple):
                return count_samples(part)
    raise ValueError(
        f"no tensor found in the sample input of type {type(batch).__name__}; give samples=..., "
        "the number of samples in it."
    )


@torch.no_grad()
def count_vectors(
    model: nn.Module,
    batch: Any,  # noqa: ANN401 - whatever the model takes
    forward: Callable[[Any], object] | None,
) -> dict[TileArray, int]:
    """Return the input vectors that each array met in one pass over a batch.

    Args:
        model: Model with analog layers; it is left as it was.
        batch: What the model takes: a tensor, a tuple of arguments, or keyword arguments.
        forward: Called with the batch instead of the model.

    Raises:
        ValueError: If the model has no ``forward``.
    """
    if forward is None and type(model).forward in (nn.Module.forward, LightningModule.forward):
        raise ValueError(
            f"{type(model).__name__} has no forward, so the batch cannot pass through it: give the "
            "network inside it, or forward=lambda batch: ... ."
        )
    counts: dict[TileArray, int] = {}

    def count(array: TileArray, _: object, y: Tensor) -> None:
        vectors = y.numel() // sum(array.out_sizes) * array.groups
        counts[array] = counts.get(array, 0) + vectors

    with _counted(model, count), torch.random.fork_rng():
        if forward is not None:
            forward(batch)
        elif isinstance(batch, Mapping):
            model(**batch)
        else:
            model(*batch) if isinstance(batch, tuple) else model(batch)
    for layer in analog_layers(model).values():
        arrays = {name: array for name, (array, _) in analog_arrays(layer).items()}
        for name, array in arrays.items():
            # The step-by-step products of a recurrent layer do not go through the array's forward;
            # there is one for each row of the input product.
            twin = arrays.get(name.replace("_hh", "_ih").replace("_hr", "_ih"))
            if array not in counts and twin in counts:
                counts[array] = counts[twin]
    return counts


@contextmanager
def _counted(model: nn.Module, count: Callable[..., None]) -> Iterator[None]:
    """Let every array report its outputs, ideal ones too, in evaluation mode."""
    training = {module: module.training for module in model.modules()}
    arrays = [module for module in model.modules() if isinstance(module, TileArray)]
    ideal = [array.is_ideal for array in arrays]
    hooks = [array.register_forward_hook(count) for array in arrays]
    for array in arrays:
        array.is_ideal = False  # otherwise the digital layer itself would run
    model.eval()
    try:
        yield
    finally:
        for module, was in training.items():
            module.training = was
        for array, was in zip(arrays, ideal, strict=True):
            array.is_ideal = was
        for hook in hooks:
            hook.remove()

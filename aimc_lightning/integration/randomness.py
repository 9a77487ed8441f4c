"""State of every random number generator of one process, as plain tensors and numbers."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the state of the generators of torch (CPU and CUDA), NumPy and Python.

    Returns:
        A dict of tensors, lists, numbers and strings only, so that a checkpoint which holds it
        still loads with ``weights_only=True``.

    Example:
        >>> before = random_state()
        >>> first = torch.rand(1)
        >>> set_random_state(before)
        >>> bool(first == torch.rand(1))
        True
    """
    version, internal, gauss = random.getstate()
    # The legacy NumPy generator is what np.random.shuffle and many augmentations use.
    legacy: tuple[Any, ...] = np.random.get_state(legacy=True)  # type: ignore[assignment]  # noqa: NPY002
    name, keys, position, has_gauss, cached = legacy
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": list(cuda),
        "python": [version, list(internal), gauss],
        "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators of this process back to a state from :func:`random_state`.

    Args:
        state: What :func:`random_state` returned, possibly after a round trip through a file.
    """
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        visible = min(len(state["cuda"]), torch.cuda.device_count())
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"][:visible]])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        (name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached)
    )


def separate_ranks() -> None:
    """Give each process but the first random numbers of its own, from now on.

    Processes begin with equal states, by fork or by ``seed_everything``, and would add the same
    noise to their different samples. Only torch's generators change, and those of rank 0 not.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return
    rank = torch.distributed.get_rank()
    if rank > 0:
        key = f"rank {rank} {int(torch.randint(2**62, ()))}".encode()
        torch.manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1)


def gather_random_states(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states of all processes of a distributed run, by rank.

    Args:
        state: State of this process.

    Returns:
        One entry without distributed training; otherwise one per rank, the same list on each.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return [state]
    states: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, state)
    return states


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Put the global random generators back afterwards."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)

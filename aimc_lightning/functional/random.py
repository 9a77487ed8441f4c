"""Standard normal random numbers, exact and drawn by several threads on a CPU."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

try:
    from aimc_lightning.functional.cpu_normals import draw_normals

    HAS_KERNELS = True
except ImportError:  # no numba
    HAS_KERNELS = False

# torch's CPU generator is serial (about 0.2 to 0.3 billion normals a second), so all but the
# smallest draws come from kernels or, in other types, from chunks with generators of their own. The
# cuts depend on the size only, never on the number of threads: the same seed gives the same numbers
# on every machine.
_KERNEL = 1 << 12
_CHUNK = 1 << 18


@functools.cache
def _threads(pid: int) -> ThreadPoolExecutor:
    # Threads do not survive a fork (data loaders, ddp_fork), so each process has its own.
    return ThreadPoolExecutor(max_workers=16, thread_name_prefix=f"aimc-normal-{pid}")


def standard_normal_like(x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return independent standard normal numbers.

    Args:
        x: Gives shape, dtype and device.
        generator: Source of the numbers; torch's own if ``None``.

    Returns:
        Tensor like ``x``.

    Example:
        >>> import torch
        >>> a = standard_normal_like(torch.empty(3), generator=torch.Generator().manual_seed(1))
        >>> b = standard_normal_like(torch.empty(3), generator=torch.Generator().manual_seed(1))
        >>> bool((a == b).all())
        True
    """
    if torch.compiler.is_compiling() and generator is None:
        # As torch.randn, but that one cannot be traced with a batch size that varies.
        return torch.randn_like(x)
    numel = x.numel()
    kernels = HAS_KERNELS and x.dtype == torch.float32
    small = numel < (_KERNEL if kernels else 2 * _CHUNK)
    if torch.compiler.is_compiling() or x.device.type != "cpu" or small:
        return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    with torch.inference_mode(False):  # threads of the pool are never in inference mode
        out = torch.empty(numel, dtype=x.dtype)
    seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))
    if kernels:
        draw_normals(out.numpy(), seed)
        return out.view(x.shape)
    jobs = [
        (chunk, torch.Generator().manual_seed((seed + index) % 2**63))
        for index, chunk in enumerate(out.split(_CHUNK))
    ]
    if torch.get_num_threads() == 1:
        for chunk, source in jobs:
            chunk.normal_(generator=source)
    else:
        list(_threads(os.getpid()).map(lambda job: job[0].normal_(generator=job[1]), jobs))
    return out.view(x.shape)

"""The weights of one forward pass on a GPU in one Triton kernel, training noise included.

The arithmetic is that of :func:`.noise.noisy_weight` and :func:`.crossbar.crossbar_weights`, which
define it. The kernel knows the laws with one draw per weight and no rounding.
"""

import torch
import triton
from torch import Tensor

from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery
from aimc_lightning.functional.gpu_kernels import prepare_weights
from aimc_lightning.functional.gpu_launch import is_on_gpu, new_seed, on_device_of, power_of_two
from aimc_lightning.functional.noise import NoiseLaw
from aimc_lightning.functional.standard_effects import has_simple_weights, new_weights

_BLOCK = 256  # a quarter of what a program takes of a row


def can_fuse_weights_on_gpu(weight: Tensor, periphery: Periphery, law: NoiseLaw) -> bool:
    """Return whether the kernel serves this tile.

    Example:
        >>> can_fuse_weights_on_gpu(torch.ones(3, 2), Periphery(), NoiseLaw("discretize"))
        False
    """
    return (
        is_on_gpu(weight)
        and weight.dtype == torch.float32
        and has_simple_weights(weight, periphery, law)
    )


def gpu_weights(
    weight: Tensor,
    scale: Tensor,
    periphery: Periphery,
    law: NoiseLaw,
    *,
    generator: torch.Generator | None = None,
) -> CrossbarWeights:
    """Return the weights of a tile for one forward pass.

    Args:
        weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units; rows may have
            gaps between them, as in a part of a larger matrix.
        scale: Mapping scale, ``(out,)``, in digital units per normalised weight.
        periphery: Numbers of the signal chain.
        law: Training noise.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Normalised, disturbed weights and what is derived from them, dense.
    """
    weight = weight.detach() if weight[0].is_contiguous() else weight.detach().contiguous()
    rows, n = len(weight), weight[0].numel()
    out = new_weights(weight, periphery)
    magnitude = out.squares if out.magnitude is None else out.magnitude
    block = min(power_of_two(-(-n // 4)), _BLOCK)
    with on_device_of(weight):
        seed = None if law.kind == "none" else new_seed(weight, generator)
        prepare_weights[(rows, triton.cdiv(n, 4 * block))](
            weight, weight.stride(0), scale.contiguous(),
            out.weight, magnitude, out.positioned, seed, n,
            float(law.w_max), *law.numbers(),
            law.kind in ("additive", "polynomial"), law.kind == "pcm", block,
        )  # fmt: skip
    return out

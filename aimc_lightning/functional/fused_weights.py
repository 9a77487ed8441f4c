"""The weights of one forward pass on the CPU in one kernel, training noise included.

The arithmetic is that of :func:`.noise.noisy_weight` and :func:`.crossbar.crossbar_weights`, which
define it. The kernel knows the laws with one draw per weight and no rounding, and needs numba.
"""

import ctypes

import numpy as np
import torch
from torch import Tensor

from aimc_lightning.functional.cpu_jit import run_in_threads
from aimc_lightning.functional.cpu_layout import flat_array, is_readable
from aimc_lightning.functional.cpu_weights import (
    ADDED,
    KEEPS_ZERO,
    NONE,
    REFLECTED,
    NoiseNumbers,
    WeightArrays,
    prepare_rows,
)
from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery
from aimc_lightning.functional.fused_integers import arrays_of, can_use_integers, new_integers
from aimc_lightning.functional.ir_drop import position_weights
from aimc_lightning.functional.noise import NoiseLaw
from aimc_lightning.functional.standard_effects import has_simple_weights, new_weights


def can_fuse_weights(weight: Tensor, periphery: Periphery, law: NoiseLaw) -> bool:
    """Return whether the kernel serves this tile.

    Example:
        >>> can_fuse_weights(torch.ones(3, 2), Periphery(), NoiseLaw("discretize"))
        False
    """
    return is_readable(weight) and has_simple_weights(weight, periphery, law)


def _noise_numbers(law: NoiseLaw, generator: torch.Generator | None) -> NoiseNumbers:
    if law.kind == "none":
        return NoiseNumbers(NONE, 1.0, 0.0, 0.0, 0.0, 0.0, 0, 0)
    seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))
    keys = seed & 0xFFFFFFFF, seed >> 32
    modes = {"pcm": KEEPS_ZERO, "programming": REFLECTED}
    factor, c0, c1, c2 = law.numbers()
    return NoiseNumbers(modes.get(law.kind, ADDED), law.w_max, factor, c0, c1, c2, *keys)


def _new_weights(weight: Tensor, p: Periphery, integers: bool) -> CrossbarWeights:
    if integers and can_use_integers(weight, p):
        dense = torch.empty(weight.shape, dtype=torch.float32)
        return CrossbarWeights(dense, weight.shape[1], integers=new_integers(dense, p))
    return new_weights(weight, p)


def fused_weights(
    weight: Tensor,
    scale: Tensor,
    periphery: Periphery,
    law: NoiseLaw,
    *,
    integers: bool = False,
    generator: torch.Generator | None = None,
) -> CrossbarWeights:
    """Return the weights of a tile for one forward pass.

    Args:
        weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units; rows may have
            gaps between them, as in a part of a larger matrix.
        scale: Mapping scale, ``(out,)``, in digital units per normalised weight.
        periphery: Numbers of the signal chain.
        law: Training noise.
        integers: Whether integers may take the place of what is derived from the weights.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Normalised, disturbed weights and what is derived from them, dense.

    Example:
        >>> quiet = Periphery(output_noise_std=0.04)
        >>> fused_weights(torch.full((1, 2), 3.0), torch.tensor([3.0]), quiet, NoiseLaw()).weight
        tensor([[1., 1.]])
    """
    weight = weight.detach() if weight[0].is_contiguous() else weight.detach().contiguous()
    rows, n = len(weight), weight[0].numel()
    stride = weight.stride(0) if rows > 1 else n
    # By address: a numpy() view would forbid FSDP to free the memory of gathered weights.
    count = (rows - 1) * stride + n
    span = np.ctypeslib.as_array((ctypes.c_float * count).from_address(weight.data_ptr()))
    out = _new_weights(weight, periphery, integers)
    magnitude = out.squares if out.magnitude is None else out.magnitude
    position = position_weights(n, dtype=torch.float32, device=weight.device).numpy()
    arrays = WeightArrays(
        flat_array(out.weight),
        flat_array(magnitude),
        flat_array(out.positioned),
        arrays_of(out.integers),
    )
    scales, numbers = scale.contiguous().numpy(), _noise_numbers(law, generator)
    run_in_threads(
        lambda first, last: prepare_rows(
            span, stride, scales, position, numbers, arrays, first, last
        ),
        rows,
        rows * n,
    )
    return out

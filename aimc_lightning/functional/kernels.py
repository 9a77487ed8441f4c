"""The fused kernels that this machine can run; where none serves, the readable chain does.

``HAS_CPU_KERNELS`` and ``HAS_GPU_KERNELS`` say whether their compilers are there; without one its
functions are missing here.
"""

from torch import Tensor

from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery, crossbar_weights

try:  # numba
    from aimc_lightning.functional.cpu_devices import DeviceNumbers
    from aimc_lightning.functional.fused import can_fuse, fused_forward
    from aimc_lightning.functional.fused_backward import fused_backward
    from aimc_lightning.functional.fused_devices import hold_on_pcm
    from aimc_lightning.functional.fused_integers import can_use_integers, integer_weights
    from aimc_lightning.functional.fused_weights import can_fuse_weights, fused_weights

    HAS_CPU_KERNELS = True
except ImportError:
    HAS_CPU_KERNELS = False

try:  # Triton
    from aimc_lightning.functional.fused_gpu import can_fuse_on_gpu, gpu_forward
    from aimc_lightning.functional.fused_gpu_backward import gpu_backward
    from aimc_lightning.functional.fused_weights_gpu import can_fuse_weights_on_gpu, gpu_weights
    from aimc_lightning.functional.gpu_launch import is_on_gpu, new_seed
    from aimc_lightning.functional.gpu_steps import (
        can_fuse_steps,
        gpu_lstm_backward,
        gpu_lstm_forward,
        gpu_step,
        gpu_step_backward,
    )

    HAS_GPU_KERNELS = True
except ImportError:
    HAS_GPU_KERNELS = False

__all__ = [
    "HAS_CPU_KERNELS",
    "HAS_GPU_KERNELS",
    "DeviceNumbers",
    "can_fuse",
    "can_fuse_on_gpu",
    "can_fuse_steps",
    "can_fuse_weights",
    "can_fuse_weights_on_gpu",
    "derived_weights",
    "fused_backward",
    "fused_forward",
    "fused_weights",
    "gpu_backward",
    "gpu_forward",
    "gpu_lstm_backward",
    "gpu_lstm_forward",
    "gpu_step",
    "gpu_step_backward",
    "gpu_weights",
    "hold_on_pcm",
    "is_on_gpu",
    "new_seed",
]


def derived_weights(
    weight: Tensor, periphery: Periphery, negative: Tensor | None = None
) -> CrossbarWeights:
    """Return the weights of a tile as the products of this machine take them.

    Args:
        weight: Normalised weights, ``(out, in / groups, *kernel)``.
        periphery: Numbers of the signal chain.
        negative: Weights seen by negative inputs in a pass of their own, same shape, or ``None``.

    Returns:
        As 8-bit integers, or else as :func:`~aimc_lightning.functional.crossbar.crossbar_weights`.
    """
    if HAS_CPU_KERNELS and negative is None and can_use_integers(weight, periphery):
        return integer_weights(weight, periphery)
    return crossbar_weights(weight, periphery, negative)

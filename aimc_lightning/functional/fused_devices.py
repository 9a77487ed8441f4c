"""Weights on freshly programmed and aged PCM devices, on the CPU in one kernel."""

import numpy as np
import torch
from torch import Tensor

from aimc_lightning.functional.cpu_devices import DeviceNumbers, hold_rows
from aimc_lightning.functional.cpu_jit import run_in_threads
from aimc_lightning.functional.cpu_layout import flat_array


def hold_on_pcm(weight: Tensor, numbers: DeviceNumbers) -> tuple[Tensor, Tensor]:
    """Return weights as devices hold them after a time, and how far their magnitudes fell.

    Args:
        weight: Normalised weights of a crossbar, ``(out, in)``, float32, not empty.
        numbers: Of the crossbar, the device and the time.

    Returns:
        Weights, ``(out, in)``, and for each output the sums of the magnitudes right after
        programming and after the time, ``(out, 2)``.
    """
    rows, n = weight.shape
    aged, sums = torch.empty_like(weight), torch.empty(rows, 2, dtype=torch.float32)
    values, out = flat_array(weight), (flat_array(aged), flat_array(sums, np.float32))
    run_in_threads(
        lambda first, last: hold_rows(values, n, numbers, out, first, last), rows, rows * n
    )
    return aged, sums

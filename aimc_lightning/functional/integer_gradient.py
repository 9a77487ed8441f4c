"""The gradient of weights on the CPU with 8-bit integers, as exact as 16 bits."""

import numpy as np
import torch
from torch import Tensor

from aimc_lightning.functional.cpu_integers import (
    GRADIENT_ROWS,
    join_sums,
    largest_of_columns,
    split_gradient,
)
from aimc_lightning.functional.cpu_jit import run_in_threads
from aimc_lightning.functional.cpu_layout import flat_array
from aimc_lightning.functional.integer_weights import LARGEST, integer_product


def integer_weight_gradient(grad: Tensor, codes: Tensor) -> Tensor:
    """Return ``grad.T @ codes``.

    Each gradient becomes 16 bits relative to the largest of its output: far finer than the noise
    in it, and than the 11 bits of TF32, with which GPUs multiply.

    Args:
        grad: Gradient of the product in rows, ``(rows, out)``, float32.
        codes: DAC codes in rows, ``(rows, in)``, int8; at most ``MOST_TERMS`` rows.

    Returns:
        Shape ``(out, in)``, float32.

    Example:
        >>> integer_weight_gradient(torch.tensor([[0.5]]), torch.tensor([[3]], dtype=torch.int8))
        tensor([[1.5000]])
    """
    rows, outputs = grad.shape
    values, blocks = flat_array(grad), -(-rows // GRADIENT_ROWS)
    bits = np.empty(blocks * outputs, np.uint32)
    run_in_threads(
        lambda first, last: largest_of_columns(values, outputs, bits, first, last),
        blocks,
        values.size,
    )
    step = bits.reshape(blocks, outputs).max(0).view(np.float32) / np.float32(LARGEST)
    with np.errstate(divide="ignore"):
        inverse = np.where(step == 0, np.float32(0), 1 / step)
    high, low = (torch.empty(grad.shape, dtype=torch.int8) for _ in range(2))
    parts = flat_array(high), flat_array(low)
    run_in_threads(
        lambda first, last: split_gradient(values, inverse, parts, first, last),
        blocks,
        values.size,
    )
    out = torch.empty(outputs, codes.shape[1], dtype=torch.float32)
    high_sums, low_sums = integer_product(high.t(), codes), integer_product(low.t(), codes)
    sums = flat_array(high_sums), flat_array(low_sums)
    joined = flat_array(out)
    run_in_threads(
        lambda first, last: join_sums(sums, step, joined, first, last), outputs, joined.size
    )
    return out

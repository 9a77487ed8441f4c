"""One time step of a recurrent layer on a GPU: its tiles, and the gates of an LSTM."""

import torch
import triton
from torch import Tensor

from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery
from aimc_lightning.functional.fused_gpu import (
    DacOutput,
    Outputs,
    adc,
    products_of,
)
from aimc_lightning.functional.gpu_gradient_kernels import enter_backward, leave_step
from aimc_lightning.functional.gpu_kernels import convert_inputs
from aimc_lightning.functional.gpu_launch import ELEMENTS, Lines, is_on_gpu, on_device_of
from aimc_lightning.functional.gpu_lstm_kernels import lstm_backward, lstm_forward
from aimc_lightning.functional.product import StackedProduct
from aimc_lightning.functional.standard_effects import Scales, has_only_standard_effects

_PRODUCT = StackedProduct()


def can_fuse_steps(weights: CrossbarWeights, periphery: Periphery) -> bool:
    """Return whether the kernels serve these tiles, in float32.

    Example:
        >>> can_fuse_steps(CrossbarWeights(torch.ones(1, 3, 2), 2), Periphery())
        False
    """
    return (
        is_on_gpu(weights.weight)
        and weights.weight.dtype == torch.float32
        and has_only_standard_effects(weights, periphery)
    )


def _lines(tiles: int, rows: int, outputs: int) -> Lines:
    return Lines(tiles * rows, outputs, outputs, True, rows)


def gpu_step(
    x: Tensor,
    weights: CrossbarWeights,
    periphery: Periphery,
    scales: Scales,
    codes: Tensor | None,
    seed: Tensor | None,
) -> Tensor:
    """Return the digital outputs of equal tiles for one time step, each of its part of the inputs.

    Args:
        x: Inputs, ``(batch, tiles * in)``; rows may have gaps between them.
        weights: Normalised weights, ``(tiles, out, in)`` each.
        periphery: Numbers of the signal chain.
        scales: Input ranges, ``(tiles,)``, and digital units per normalised weight,
            ``(tiles * out,)``.
        codes: Filled with the ADC codes of the step, ``(tiles, batch, out)``, a part of those of
            all steps; ``None`` where no gradient follows.
        seed: Of the random numbers; ``None`` without noise.

    Returns:
        Sum over the tiles, ``(batch, out)``.
    """
    tiles, outputs, features = weights.weight.shape
    rows, drops = len(x), weights.positioned is not None
    shape, n = (tiles, rows, features), tiles * rows * features

    def empty(dtype: torch.dtype, wanted: bool = True) -> Tensor | None:
        return torch.empty(shape, dtype=dtype, device=x.device) if wanted else None

    with on_device_of(x):
        exact = torch.empty(shape, device=x.device)
        half, reads = torch.bfloat16, weights.squares is not None
        inputs = DacOutput(exact, empty(half, drops), empty(half, drops), empty(half, reads))
        convert_inputs[(triton.cdiv(n, ELEMENTS),)](
            x, scales.input_range, *inputs, (periphery.dac_steps or 0) / 2,
            n, rows, features, x.stride(0), ELEMENTS, True,
        )  # fmt: skip
        products = products_of(inputs, weights, _PRODUCT)
        stride = 0 if codes is None else codes.stride(0)
        out = Outputs(torch.empty_like(products.z), codes, stride)
        lines = _lines(tiles, rows, outputs)
        adc(products, lines, scales, periphery, weights.in_features, out, seed)
    return out.y.sum(0) if tiles > 1 else out.y[0]


def gpu_step_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    scales: Scales,
    periphery: Periphery,
    codes: Tensor,
    grad: Tensor,
    into: tuple[Tensor, Tensor],
) -> None:
    """Go back through one time step of :func:`gpu_step`.

    Args:
        grad_y: Gradient of the outputs, ``(batch, out)``, dense.
        x: Inputs, ``(batch, tiles * in)``; rows may have gaps between them.
        weight: Normalised weights, ``(tiles, out, in)``.
        scales: Of :func:`gpu_step`.
        periphery: Numbers of the signal chain.
        codes: ADC codes of the step, ``(tiles, batch, out)``, a part of those of all steps.
        grad: Filled with the gradient of the ideal products, laid out as ``codes``.
        into: Filled with the gradient of the inputs, laid out as ``x``, and with that of the
            clipped ones, ``(tiles, batch, in)``, a part of that of all steps.
    """
    tiles, outputs, features = weight.shape
    rows, (grad_x, clipped) = len(x), into
    shape = _lines(tiles, rows, outputs)
    lines, columns = shape.blocks()
    with on_device_of(x):
        enter_backward[(triton.cdiv(shape.lines, lines), triton.cdiv(outputs, columns))](
            grad_y, codes, scales.output, grad, None, periphery.code_limit or 0.0,
            shape.lines, outputs, outputs, rows, codes.stride(0), True, lines, columns,
        )  # fmt: skip
        grad_codes = torch.bmm(grad, weight)
        n = grad_codes.numel()
        leave_step[(triton.cdiv(n, ELEMENTS),)](
            x, grad_codes, scales.input_range, grad_x, clipped,
            n, rows, features, x.stride(0), clipped.stride(0), ELEMENTS,
        )  # fmt: skip


def gpu_lstm_forward(
    x_gates: Tensor, h_gates: Tensor, c: Tensor, saved: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the new states, see :class:`.recurrent_cells.LSTMGates`; all tensors are dense."""
    new_h, new_c = torch.empty_like(c), torch.empty_like(c)
    n = c.numel()
    with on_device_of(c):
        lstm_forward[(triton.cdiv(n, 256),)](
            x_gates, h_gates, c, saved, new_h, new_c, n, c.shape[1], 256
        )
    return new_h, new_c


def gpu_lstm_backward(grad_h: Tensor, grad_c: Tensor, saved: Tensor, grad_gates: Tensor) -> Tensor:
    """Return the gradient of the old cell state, and fill that of the gates."""
    grad_old_c = torch.empty_like(grad_c)
    n = grad_c.numel()
    with on_device_of(grad_c):
        lstm_backward[(triton.cdiv(n, 256),)](
            grad_h, grad_c, saved, grad_gates, grad_old_c, n, grad_c.shape[1], 256
        )
    return grad_old_c

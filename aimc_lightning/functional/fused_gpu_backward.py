"""The backward pass of one tile on a GPU with all element-wise work in a few Triton kernels."""

from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from aimc_lightning.functional.crossbar import Periphery
from aimc_lightning.functional.fused_gpu import dac
from aimc_lightning.functional.gpu_gradient_kernels import (
    enter_backward,
    leave_backward,
    range_gradient,
)
from aimc_lightning.functional.gpu_launch import (
    dense,
    like,
    lines_of,
    on_device_of,
    power_of_two,
)
from aimc_lightning.functional.product import Product
from aimc_lightning.functional.standard_effects import Gradients, Scales

_SUMMED = 4096  # elements whose gradients a program adds up


def gpu_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    codes: Sequence[Tensor],
    scales: Scales,
    periphery: Periphery,
    product: Product,
    needs: tuple[bool, bool, bool, bool],
) -> Gradients:
    """Return the gradients of :func:`~aimc_lightning.functional.fused_gpu.gpu_forward`.

    Args:
        grad_y: Gradient of the outputs.
        x: Inputs.
        weight: Normalised weights of the tile.
        codes: Of the ADC alone.
        scales: Input range, scalar tensor, and output scale, ``(out,)``.
        periphery: Numbers of the signal chain.
        product: How inputs meet weights.
        needs: Whether to return the gradients of inputs, of range, of weight, and of output scale.
    """
    p = periphery
    with on_device_of(x):
        grad, per_output = _enter(
            like(grad_y, codes[0]), codes[0], scales.output, p.code_limit or 0.0, product,
            weight.dtype, needs[3],
        )  # fmt: skip
        x = dense(x, product)
        # Made again, not kept: x is there anyway, and reading it costs what reading codes does.
        x_codes = dac(x, scales.input_range, p, weight.dtype, (False, False)).codes
        of_inputs = needs[0] or needs[1]
        grad_codes, grad_w = product.backward(grad, x_codes, weight, (of_inputs, needs[2]))
        grad_x = grad_range = None
        if grad_codes is not None:
            grad_x, grad_range = _leave(x, like(grad_codes, x), scales.input_range, p, needs[0])
    return Gradients(grad_x, grad_w, per_output, grad_range)


def _enter(
    grad_y: Tensor,
    codes: Tensor,
    scale: Tensor,
    limit: float,
    product: Product,
    dtype: torch.dtype,
    with_sums: bool,
) -> tuple[Tensor, Tensor | None]:
    shape = lines_of(codes, product)
    lines, columns = shape.blocks(_SUMMED)
    grid = triton.cdiv(shape.lines, lines), triton.cdiv(shape.width, columns)
    grad = torch.empty_like(codes, dtype=dtype)
    sums = None
    if with_sums:
        size = (grid[0], shape.width) if shape.last else (shape.lines, grid[1])
        sums = torch.empty(size, dtype=torch.float32, device=codes.device)
    enter_backward[grid](
        grad_y, codes, scale, grad, sums, limit,
        shape.lines, shape.width, shape.outputs, shape.tile_lines, 0, shape.last, lines, columns,
    )  # fmt: skip
    if sums is None:
        return grad, None
    return grad, sums.sum(0) if shape.last else sums.view(-1, shape.outputs, grid[1]).sum((0, 2))


def _leave(
    x: Tensor, grad: Tensor, input_range: Tensor, p: Periphery, of_inputs: bool
) -> tuple[Tensor | None, Tensor]:
    n = x.numel()
    blocks = triton.cdiv(n, _SUMMED)
    sums = torch.empty(blocks, 2, dtype=torch.float32, device=x.device)
    grad_x = torch.empty_like(x) if of_inputs else None
    leave_backward[(blocks,)](x, grad, input_range, grad_x, sums, n, _SUMMED)
    grad_range = torch.empty_like(input_range)
    size = min(power_of_two(blocks), 1024)
    range_gradient[(1,)](sums, blocks, input_range, grad_range, n, p.decay, p.min_percentage, size)
    return grad_x, grad_range

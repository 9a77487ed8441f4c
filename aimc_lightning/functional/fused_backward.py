"""The backward pass of one tile on the CPU with all element-wise work in two kernels."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aimc_lightning.functional.cpu_gradients import (
    TRANSPOSED,
    enter_backward,
    leave_backward,
    transpose_weights,
    widen_by_few,
)
from aimc_lightning.functional.cpu_jit import run_in_threads
from aimc_lightning.functional.cpu_layout import Border, border, dense, flat_array
from aimc_lightning.functional.cpu_product import RowProduct
from aimc_lightning.functional.crossbar import Periphery
from aimc_lightning.functional.input_range import range_step
from aimc_lightning.functional.integer_gradient import integer_weight_gradient
from aimc_lightning.functional.integer_weights import MOST_TERMS
from aimc_lightning.functional.product import IntegerProduct, LinearProduct, Product
from aimc_lightning.functional.standard_effects import Gradients, Scales

_FEW = 16  # one clipped input in so many: products with their columns alone still pay


def fused_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    codes: Sequence[Tensor],
    scales: Scales,
    periphery: Periphery,
    product: Product,
    needs: tuple[bool, bool, bool, bool],
) -> Gradients:
    """Return the gradients of :func:`~aimc_lightning.functional.fused.fused_forward`.

    Args:
        grad_y: Gradient of the outputs.
        x: Inputs.
        weight: Normalised weights of the tile.
        codes: Of the ADC, in the shape of the outputs, and of the DAC, in rows.
        scales: Input range, scalar tensor, and output scale, ``(out,)``.
        periphery: Numbers of the signal chain.
        product: How inputs meet weights.
        needs: Whether to return the gradients of inputs, of range, of weight, and of output scale.
    """
    adc_codes, dac_codes = codes
    width, grad_y = scales.input_range.abs(), grad_y.float()
    rows = RowProduct(product, x.shape, weight)
    limit = periphery.code_limit or 0.0
    grad, per_output = _enter(
        border(grad_y, product), rows.to_rows(adc_codes), scales.output, limit, needs[3]
    )
    inverse_range = (1 / width).item()
    sums = None
    if needs[1] and not needs[0] and isinstance(product, LinearProduct):
        sums = _sums_of_few(border(x, product), grad, weight.float(), inverse_range)
    of_inputs = needs[0] or (needs[1] and sums is None)
    grad, grad_w, of_weight = grad.to(weight.dtype), None, needs[2]
    grad_rows = None
    in_integers = isinstance(product, IntegerProduct) and len(dac_codes) <= MOST_TERMS
    if of_weight and in_integers and weight.dtype == torch.float32:
        grad_w, of_weight = integer_weight_gradient(grad, dac_codes), False
    if of_inputs or of_weight:
        of_product = of_inputs, of_weight
        grad_rows, more = rows.backward(grad, dac_codes.to(weight.dtype), weight, of_product)
        grad_w = grad_w if more is None else more
    grad_x = None
    if grad_rows is not None:
        inputs = border(x, product)
        grad_x, sums = _leave(inputs, grad_rows.float(), x.shape, product, inverse_range)
    grad_range = None
    if needs[1] and sums is not None:
        p, outside = periphery, sums[1] / x.numel()
        grad_range = range_step(width, sums[0], outside, p.decay, p.min_percentage)
        grad_range = scales.input_range.sign() * grad_range
    return Gradients(grad_x, grad_w, per_output, grad_range)


def _sums_of_few(
    inputs: Border, grad: Tensor, weight: Tensor, inverse_range: float
) -> Tensor | None:
    """Return what the range learns from, for inputs whose gradient nobody asks for.

    Only inputs on or beyond the range count, which are few, so the whole product would be wasted.

    Args:
        inputs: Inputs, in rows.
        grad: Gradient of the product, ``(rows, out)``.
        weight: Normalised weights, ``(out, in)``.
        inverse_range: Reciprocal of the input range.

    Returns:
        The two sums of ``leave_backward``, or ``None`` if the inputs are too many.
    """
    blocks = inputs.blocks
    columns = torch.empty(weight.shape[1], weight.shape[0], dtype=torch.float32)
    by_outputs, by_inputs = flat_array(weight.contiguous()), flat_array(columns)
    run_in_threads(
        lambda first, last: transpose_weights(by_outputs, len(columns), by_inputs, first, last),
        -(-len(columns) // TRANSPOSED),
        columns.numel(),
    )
    sums = torch.empty(blocks.number, 2, dtype=torch.float64)
    x, gradient, out = flat_array(inputs.flat), flat_array(grad), flat_array(sums)
    numbers = inverse_range, blocks.run * blocks.channels // _FEW
    run_in_threads(
        lambda first, last: widen_by_few(x, blocks, gradient, by_inputs, numbers, out, first, last),
        blocks.number,
        blocks.elements,
    )
    found = sums.sum(0).float()
    return None if found[1].isnan() else found


def _enter(
    grads: Border, codes: Tensor, output_scale: Tensor, limit: float, with_sums: bool
) -> tuple[Tensor, Tensor | None]:
    blocks = grads.blocks
    grad = torch.empty(blocks.rows, blocks.channels, dtype=torch.float32)
    sums = torch.empty(blocks.number, blocks.channels, dtype=torch.float32) if with_sums else None
    flat, flat_codes = flat_array(grads.flat), flat_array(codes)
    scale, out = (
        flat_array(output_scale.contiguous()),
        (flat_array(grad), flat_array(sums, np.float32)),
    )
    run_in_threads(
        lambda first, last: enter_backward(
            flat, blocks, flat_codes, scale, limit, out, first, last
        ),
        blocks.number,
        blocks.elements,
    )
    return grad, None if sums is None else sums.sum(0)


def _leave(
    inputs: Border, grad: Tensor, shape: torch.Size, product: Product, inverse_range: float
) -> tuple[Tensor, Tensor]:
    blocks = inputs.blocks
    grad_x, outside = dense(shape, product, in_rows=inputs.in_rows)
    sums = torch.empty(blocks.number, 2, dtype=torch.float64)
    flat, flat_grad = flat_array(inputs.flat), flat_array(grad)
    out = flat_array(outside.flat), flat_array(sums)
    run_in_threads(
        lambda first, last: leave_backward(
            flat, blocks, flat_grad, inverse_range, out, first, last
        ),
        blocks.number,
        blocks.elements,
    )
    return grad_x, sums.sum(0).float()

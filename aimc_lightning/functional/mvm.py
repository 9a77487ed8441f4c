"""The product of one tile as layers call it: digital scales around the crossbar, and gradients."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aimc_lightning.functional import kernels
from aimc_lightning.functional.crossbar import (
    CrossbarWeights,
    Periphery,
    crossbar_weights,
    dac_codes,
    product_dtype,
)
from aimc_lightning.functional.input_range import input_range_gradient
from aimc_lightning.functional.managed import managed_codes
from aimc_lightning.functional.product import IntegerProduct, LinearProduct, Product
from aimc_lightning.functional.standard_effects import Scales

_Kernels = tuple[Callable[..., Any], Callable[..., Any]]


class PreparedTile(NamedTuple):
    """What a tile is made of in one forward pass, with one draw of training noise.

    Attributes:
        weights: Normalised weights as they act in this pass.
        mapping_scale: Mapping scale s, ``(out,)`` or ``(1,)``, digital units per normalised weight.
        periphery: Numbers of the signal chain.
    """

    weights: CrossbarWeights
    mapping_scale: Tensor
    periphery: Periphery


def faded(tile: PreparedTile, share: float) -> PreparedTile:
    """Return a tile of smaller currents, as drift leaves them, with the factor behind the ADC.

    Args:
        tile: The tile right after programming.
        share: Of the currents that is left, above 0.

    Example:
        >>> fresh = PreparedTile(CrossbarWeights(torch.ones(1, 2), 2), torch.ones(1), Periphery())
        >>> faded(fresh, 0.5).mapping_scale
        tensor([2.])
    """
    weights, periphery = tile.weights, tile.periphery
    make = crossbar_weights if weights.integers is None else kernels.derived_weights
    negative = None if weights.negative is None else weights.negative.weight * share
    return tile._replace(
        weights=make(weights.weight * share, periphery, negative),
        mapping_scale=tile.mapping_scale / share,
    )


class _AnalogMVM(torch.autograd.Function):
    """Forward through the crossbar; backward as of an ideal product, converters ignored."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:  # noqa: ANN401 - torch's context and arguments
        x, _, input_range, out_scale, mapping_scale, weights, periphery, product, generator = args
        dtype = _chain_dtype(weights.weight)
        width = input_range.detach().abs().to(dtype)
        codes, factor = managed_codes(
            x.to(dtype) * (1 / width), weights, periphery, product, generator=generator
        )
        scale = _output_scale(out_scale, mapping_scale, weights.weight)
        y = codes * product.per_output(scale * (width * periphery.adc_step))
        if factor is not None:
            y = y * factor
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(
                x, input_range, out_scale, mapping_scale, weights.weight,
                _compact(codes, periphery), factor,
            )  # fmt: skip
            ctx.periphery, ctx.product = periphery, product
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, input_range, out_scale, mapping_scale, weight, compact, factor = ctx.saved_tensors
        p, product = ctx.periphery, ctx.product
        need_x, need_weight, need_range, need_scale = ctx.needs_input_grad[:4]
        dtype = _chain_dtype(weight)
        width = input_range.abs().to(dtype)
        grad, codes = grad_y.to(dtype), compact.to(dtype)
        if torch.compiler.is_compiling():
            # For a gradient of other strides than its codes, as that of attention, torch foresees
            # other strides of hardtanh_backward than it then gives.
            grad = grad.contiguous()
        grad_x = grad_range = grad_scale = None
        if need_scale:
            outputs = codes * grad  # not in place: without an ADC these are the saved codes
            outputs = outputs if factor is None else outputs * factor
            per_output = product.reduce_to_outputs(outputs) * (p.adc_step * width)
            grad_scale = (per_output * mapping_scale).sum_to_size(out_scale.shape)
        if p.code_limit is not None:
            grad = torch.ops.aten.hardtanh_backward(grad, codes, -p.code_limit, p.code_limit)
        grad = grad * product.per_output(_output_scale(out_scale, mapping_scale, weight))
        relative = x.to(dtype) * (1 / width)
        if factor is not None:
            relative = relative / factor
        x_hat, step = dac_codes(relative.clone(), _ideal_dac(p), None)
        x_hat = x_hat if factor is None else x_hat * factor
        grad_clipped, grad_w = product.backward(
            grad.to(weight.dtype), x_hat.to(weight.dtype), weight,
            (need_x or need_range, need_weight),
        )  # fmt: skip
        grad_w = _logical_gradient(grad_w, width * step, mapping_scale)
        if grad_clipped is not None:
            grad_x = grad_clipped = grad_clipped.to(dtype)
            if p.clip_input:
                grad_x = torch.ops.aten.hardtanh_backward(grad_clipped, relative, -1.0, 1.0)
            if need_range:
                grad_range = input_range.sign() * input_range_gradient(
                    width, relative, grad_clipped - grad_x,
                    decay=p.decay, min_percentage=p.min_percentage,
                )  # fmt: skip
            grad_x = grad_x.to(x.dtype)
        return grad_x, grad_w, grad_range, grad_scale, None, None, None, None, None


class _FusedMVM(torch.autograd.Function):
    """The same with the kernels of :mod:`.fused` or :mod:`.fused_gpu`; outputs have a dtype."""

    @staticmethod
    def forward(ctx: Any, passes: _Kernels, dtype: torch.dtype, *args: Any) -> Tensor:  # noqa: ANN401
        x, _, input_range, out_scale, mapping_scale, weights, periphery, product, generator = args
        scale = _output_scale(out_scale, mapping_scale, weights.weight).contiguous()
        keep = any(ctx.needs_input_grad)
        y, *codes = passes[0](
            x, weights, periphery, product, Scales(input_range.detach(), scale), dtype,
            keep=keep, generator=generator,
        )  # fmt: skip
        if keep:
            ctx.save_for_backward(
                x, input_range, out_scale, mapping_scale, weights.weight, *codes, scale
            )
            if weights.integers is not None and isinstance(product, LinearProduct):
                product = IntegerProduct()
            ctx.backward_kernels, ctx.periphery, ctx.product = passes[1], periphery, product
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, input_range, out_scale, mapping_scale, weight, *codes, scale = ctx.saved_tensors
        p, product = ctx.periphery, ctx.product
        need_x, need_weight, need_range, need_scale = ctx.needs_input_grad[2:6]
        if torch.is_grad_enabled():  # for a gradient of the gradient autograd must see each step
            return None, None, *_AnalogMVM.backward(_readable(ctx), grad_y)
        grads = ctx.backward_kernels(
            grad_y, x, weight, codes, Scales(input_range, scale), p, product,
            (need_x, need_range, need_weight, need_scale),
        )  # fmt: skip
        width, grad_scale = input_range.abs(), None
        if grads.per_output is not None:
            per_output = grads.per_output * (p.adc_step * width)
            grad_scale = (per_output * mapping_scale).sum_to_size(out_scale.shape)
        grad_w = _logical_gradient(grads.weight, width * (2 / (p.dac_steps or 1)), mapping_scale)
        grad_range = grads.range if need_range else None
        return None, None, grads.x, grad_w, grad_range, grad_scale, *(None,) * 5


def _readable(ctx: Any) -> SimpleNamespace:  # noqa: ANN401 - torch's own context object
    """Return the context of a fused forward pass as the readable backward pass expects it."""
    return SimpleNamespace(
        saved_tensors=(*ctx.saved_tensors[:6], None),
        periphery=ctx.periphery,
        product=ctx.product,
        needs_input_grad=ctx.needs_input_grad[2:],
    )


def _logical_gradient(grad: Tensor | None, scale: Tensor, mapping_scale: Tensor) -> Tensor | None:
    """Return the gradient of the logical weight from that of the product with DAC codes.

    That one is of the normalised weight times the mapping scale.
    """
    if grad is None:
        return None
    to_logical = (scale / mapping_scale).expand(grad.shape[0])
    grad = grad.to(_chain_dtype(grad))
    return grad.mul_(to_logical.view(-1, *(1,) * (grad.dim() - 1)))  # fresh from its product


def _chain_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype of the chain around a product whose weights may be in half precision."""
    return torch.promote_types(weight.dtype, torch.float32)


def _output_scale(out_scale: Tensor, mapping_scale: Tensor, weight: Tensor) -> Tensor:
    return (out_scale.detach() * mapping_scale).to(_chain_dtype(weight)).expand(weight.shape[0])


def _ideal_dac(p: Periphery) -> Periphery:
    return p._replace(input_asymmetry=0.0, input_noise_std=0.0, dac_stochastic=False)


def _compact(codes: Tensor, p: Periphery) -> Tensor:
    """Return the codes in the smallest type that holds them, for the backward pass."""
    if p.adc_steps is None:
        return codes
    return codes.to(torch.int8 if p.adc_steps <= 254 else torch.int32)


def analog_mvm(
    x: Tensor,
    weight: Tensor,
    input_range: Tensor,
    out_scale: Tensor,
    prepared: PreparedTile,
    product: Product,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return the digital output of one tile, ``gamma s c ADC(crossbar(DAC(x / c)))``.

    The gradient is that of an ideal product with the disturbed weights: converters pass it straight
    through, it is zero where the input lies on or beyond the input range and where the output hit
    the bound. The gradient of ``weight`` is with respect to the logical weight (a plain SGD step
    changes it by the learning rate times ``dy^T x``). The input range follows
    :func:`~aimc_lightning.functional.input_range.input_range_gradient`.

    Args:
        x: Inputs, ``(..., in_features)`` or ``(batch, channels, *space)``.
        weight: Logical weights in digital units, ``(out, in / groups, *kernel)``; only its gradient
            is used.
        input_range: Range c, scalar tensor, in units of ``x``.
        out_scale: Learned output scale gamma, ``(out,)`` or ``(1,)``, dimensionless.
        prepared: What the tile is made of in this pass.
        product: How inputs meet weights.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Outputs in digital units; the type of ``x``, or autocast's where that is on. The chain
        itself runs in at least float32, since half precision would change converter codes; its
        product follows autocast, see :func:`~aimc_lightning.functional.crossbar.product_dtype`.

    Source:
        IBM/aihwkit, ``src/aihwkit/simulator/tiles/periphery.py``, ``pre_forward`` to
        ``post_backward``.
    """
    weights, mapping_scale, periphery = prepared
    device = x.device.type
    autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
    if autocast and (weights.integers is None or torch.is_grad_enabled()):
        weights = _cast(weights, product_dtype(periphery, weights.weight))
    with torch.autocast(device, enabled=False) if autocast else nullcontext():
        if autocast and device == "cpu" and x.dtype == dtype:
            x = x.float()  # what the kernels read
        passes = _passes(x, weights, periphery, product)
        if passes is None:
            weights = _with_floats(weights, periphery)
        tile = (
            weight, input_range, out_scale, mapping_scale, weights, periphery, product, generator
        )  # fmt: skip
        if passes is not None:
            y: Tensor = _FusedMVM.apply(passes, dtype, x, *tile)
        else:
            y = _AnalogMVM.apply(x, *tile)
    return y.to(dtype)


def _passes(
    x: Tensor, weights: CrossbarWeights, periphery: Periphery, product: Product
) -> _Kernels | None:
    """Return the forward and backward pass that serve a tile, ``None`` for the readable chain."""
    tile = x, weights, periphery, product
    if kernels.HAS_GPU_KERNELS and kernels.can_fuse_on_gpu(*tile):
        return kernels.gpu_forward, kernels.gpu_backward
    if kernels.HAS_CPU_KERNELS and kernels.can_fuse(*tile):
        return kernels.fused_forward, kernels.fused_backward
    return None


def _with_floats(weights: CrossbarWeights, periphery: Periphery) -> CrossbarWeights:
    """Return weights as the readable chain takes them, where they were made as integers."""
    if weights.integers is None:
        return weights
    return crossbar_weights(weights.weight, periphery)


def _cast(weights: CrossbarWeights, dtype: torch.dtype) -> CrossbarWeights:
    negative = None if weights.negative is None else _cast(weights.negative, dtype)
    return weights._replace(weight=weights.weight.to(dtype), negative=negative)

"""The forward pass of one tile on a GPU with all element-wise work in two Triton kernels.

The arithmetic is that of :mod:`.crossbar` and :mod:`.mvm`, which define it. The kernels know the
standard effects only, and need Triton, which comes with torch for CUDA. The backward pass is in
:mod:`.fused_gpu_backward`.
"""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery
from aimc_lightning.functional.gpu_kernels import convert_inputs, convert_outputs
from aimc_lightning.functional.gpu_launch import (
    ELEMENTS,
    Lines,
    dense,
    is_on_gpu,
    like,
    lines_of,
    new_seed,
    on_device_of,
)
from aimc_lightning.functional.product import ConvProduct, LinearProduct, Product
from aimc_lightning.functional.standard_effects import (
    Products,
    Scales,
    code_dtype,
    has_only_standard_effects,
    is_noisy,
)


def can_fuse_on_gpu(
    x: Tensor, weights: CrossbarWeights, periphery: Periphery, product: Product
) -> bool:
    """Return whether the kernels serve this tile and these inputs.

    Example:
        >>> x, weights = torch.ones(1, 2), CrossbarWeights(torch.ones(3, 2), 2)
        >>> can_fuse_on_gpu(x, weights, Periphery(), LinearProduct())
        False
    """
    return (
        is_on_gpu(x)
        and type(product) in (LinearProduct, ConvProduct)
        and has_only_standard_effects(weights, periphery)
    )


class DacOutput(NamedTuple):
    """DAC codes in the type of the weights and in bfloat16, and their magnitudes and squares."""

    codes: Tensor
    coarse: Tensor | None = None
    magnitude: Tensor | None = None
    squares: Tensor | None = None


def dac(
    x: Tensor, input_range: Tensor, p: Periphery, dtype: torch.dtype, wanted: tuple[bool, bool]
) -> DacOutput:
    """Return what leaves the DAC.

    Args:
        x: Inputs, dense.
        input_range: Range c, scalar tensor.
        p: Numbers of the signal chain.
        dtype: Type of the codes.
        wanted: Whether there are IR drop and read noise.
    """
    drops, reads = wanted
    half = torch.bfloat16
    out = DacOutput(
        torch.empty_like(x, dtype=dtype),
        torch.empty_like(x, dtype=half) if drops and dtype != half else None,
        torch.empty_like(x, dtype=half) if drops else None,
        torch.empty_like(x, dtype=half) if reads else None,
    )
    n = x.numel()
    convert_inputs[(triton.cdiv(n, ELEMENTS),)](
        x, input_range, *out, (p.dac_steps or 0) / 2, n, 1, 1, 1, ELEMENTS, False
    )
    return out if dtype != half else out._replace(coarse=out.codes)


def products_of(inputs: DacOutput, weights: CrossbarWeights, product: Product) -> Products:
    """Return the products of what left the DAC with the weights."""
    z = dense(product.forward(inputs.codes, weights.weight), product)

    def with_(x: Tensor | None, weight: Tensor | None) -> Tensor | None:
        found = None if x is None or weight is None else product.forward(x, weight)
        return None if found is None else like(found, z)

    return Products(
        z,
        with_(inputs.magnitude, weights.magnitude),
        with_(inputs.coarse, weights.positioned),
        with_(inputs.squares, weights.squares),
    )


class Outputs(NamedTuple):
    """Where a kernel writes: outputs in the layout of the product, and codes unless ``None``.

    The codes of a tile begin ``codes_stride`` elements behind those of the tile before.
    """

    y: Tensor
    codes: Tensor | None
    codes_stride: int = 0


def adc(
    products: Products,
    shape: Lines,
    scales: Scales,
    p: Periphery,
    in_features: int,
    out: Outputs,
    seed: Tensor | None,
) -> None:
    """Write outputs and codes.

    Args:
        products: In one memory layout.
        shape: How they lie.
        scales: Of each tile and output.
        p: Numbers of the signal chain.
        in_features: Number of inputs of a tile as mapped.
        out: Filled.
        seed: Of the random numbers, ``(1,)``; ``None`` without any noise.
    """
    step = 2 / (p.dac_steps or 1)
    factor = None
    if p.output_noise_factor is not None:
        factor = p.output_noise_factor.to(products.z.device, torch.float32)
    lines, columns = shape.blocks(ELEMENTS // 2)
    grid = triton.cdiv(shape.lines, 4 * lines), triton.cdiv(shape.width, columns)
    convert_outputs[grid](
        *products, scales.output, scales.input_range, factor, out.y, out.codes, seed,
        step, in_features * step / p.ir_drop_g_ratio, p.ir_drop_scale * step,
        (p.read_noise_std * step) ** 2, p.output_noise_std**2, 1 / p.adc_step, p.code_limit or 0.0,
        shape.lines, shape.width, shape.outputs, shape.tile_lines, out.codes_stride,
        shape.last, lines, columns,
    )  # fmt: skip


def gpu_forward(
    x: Tensor,
    weights: CrossbarWeights,
    periphery: Periphery,
    product: Product,
    scales: Scales,
    dtype: torch.dtype,
    *,
    keep: bool,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the digital outputs of a tile.

    Args:
        x: Inputs, ``(..., in_features)`` or ``(batch, channels, *space)``.
        weights: Weights of the tile.
        periphery: Numbers of the signal chain.
        product: How inputs meet weights.
        scales: Input range, scalar tensor, and output scale, ``(out,)``.
        dtype: Type of the outputs.
        keep: Whether a backward pass follows.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Outputs, and ADC codes for the backward pass in the same memory layout.
    """
    corrected = weights.positioned is not None, weights.squares is not None
    with on_device_of(x):
        inputs = dac(
            dense(x, product), scales.input_range, periphery, weights.weight.dtype, corrected
        )
        products = products_of(inputs, weights, product)
        codes = None
        if keep:
            codes = torch.empty_like(products.z, dtype=code_dtype(periphery.adc_steps))
        out = Outputs(torch.empty_like(products.z, dtype=dtype), codes)
        shape = lines_of(products.z, product)
        seed = new_seed(x, generator) if is_noisy(periphery) else None
        adc(products, shape, scales, periphery, weights.in_features, out, seed)
    return out.y, codes

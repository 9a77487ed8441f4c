"""The forward pass of one tile on the CPU with all element-wise work in two kernels.

The arithmetic is that of :mod:`.crossbar` and :mod:`.mvm`, which define it. The kernels know the
standard effects only, and need numba. The backward pass is in :mod:`.fused_backward`.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aimc_lightning.functional.cpu_jit import run_in_threads
from aimc_lightning.functional.cpu_kernels import (
    InputArrays,
    InputNumbers,
    OutputArrays,
    OutputNumbers,
    OutputVectors,
    ProductArrays,
    convert_inputs,
    convert_outputs,
)
from aimc_lightning.functional.cpu_layout import Border, border, dense, flat_array, is_readable
from aimc_lightning.functional.cpu_product import RowProduct
from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery
from aimc_lightning.functional.fused_integers import (
    in_integers,
    integer_dac,
    integer_products,
    new_pair,
)
from aimc_lightning.functional.product import ConvProduct, LinearProduct, Product
from aimc_lightning.functional.standard_effects import (
    Scales,
    code_dtype,
    has_only_standard_effects,
    is_noisy,
)

_ONE = torch.ones(1, dtype=torch.float32)  # step of products in floating point


def can_fuse(x: Tensor, weights: CrossbarWeights, periphery: Periphery, product: Product) -> bool:
    """Return whether the kernels serve this tile and these inputs.

    Example:
        >>> x, weights = torch.ones(1, 2), CrossbarWeights(torch.ones(3, 2), 2)
        >>> can_fuse(x, weights, Periphery(), LinearProduct())
        False
    """
    return (
        is_readable(x)
        and type(product) in (LinearProduct, ConvProduct)
        and has_only_standard_effects(weights, periphery)
    )


class DacOutput(NamedTuple):
    """What leaves the DAC, in rows ``(rows, in_channels)``: codes in several types.

    ``magnitude`` and ``squares`` meet the same weights and therefore lie behind each other in
    ``pair``; ``saved`` are small integers for the backward pass.
    """

    codes: Tensor
    saved: Tensor | None
    coarse: Tensor | None
    pair: Tensor | None


def _dac(
    inputs: Border, p: Periphery, inverse_range: float, weights: CrossbarWeights, keep: bool
) -> DacOutput:
    blocks = inputs.blocks
    shape = blocks.rows, blocks.channels
    drops, reads = weights.positioned is not None, weights.squares is not None
    half = torch.bfloat16
    pair, magnitude, squares = new_pair(shape, half, drops, reads)
    coarse = drops or weights.weight.dtype == half
    out = DacOutput(
        torch.empty(shape, dtype=torch.float32),
        torch.empty(shape, dtype=code_dtype(p.dac_steps)) if keep else None,
        torch.empty(shape, dtype=half) if coarse else None,
        pair,
    )
    arrays = InputArrays(
        flat_array(out.codes),
        flat_array(out.saved, np.int8),
        flat_array(out.coarse),
        flat_array(magnitude),
        flat_array(squares),
    )
    x, numbers = flat_array(inputs.flat), InputNumbers(inverse_range, (p.dac_steps or 0) / 2)
    run_in_threads(
        lambda first, last: convert_inputs(x, blocks, numbers, arrays, first, last),
        blocks.number,
        blocks.elements,
    )
    return out


def _products(dac: DacOutput, weights: CrossbarWeights, product: RowProduct) -> ProductArrays:
    codes = dac.coarse if weights.weight.dtype == torch.bfloat16 else dac.codes
    assert codes is not None
    z = product.forward(codes, weights.weight).float()
    weighted = current = squares = None
    if weights.positioned is not None and dac.coarse is not None:
        weighted = product.forward(dac.coarse, weights.positioned)
    if dac.pair is not None:
        if weights.magnitude is not None and weights.magnitude is weights.squares:
            # One product of twice the rows reads the weights once.
            current, squares = product.forward(dac.pair.flatten(0, 1), weights.magnitude).chunk(2)
        else:
            if weights.magnitude is not None:
                current = product.forward(dac.pair[0], weights.magnitude)
            if weights.squares is not None:
                squares = product.forward(dac.pair[-1], weights.squares)
    return ProductArrays(*(flat_array(x) for x in (z, current, weighted, squares, None, None)))


def _adc(
    products: ProductArrays,
    out: Border,
    p: Periphery,
    vectors: OutputVectors,
    numbers: OutputNumbers,
) -> Tensor:
    blocks = out.blocks
    codes = torch.empty(blocks.rows, blocks.channels, dtype=code_dtype(p.adc_steps))
    outside = OutputArrays(flat_array(out.flat), flat_array(codes))
    run_in_threads(
        lambda first, last: convert_outputs(
            products, blocks, numbers, vectors, outside, first, last
        ),
        blocks.number,
        blocks.elements,
    )
    return codes


def _output_numbers(
    p: Periphery, in_features: int, generator: torch.Generator | None
) -> OutputNumbers:
    step = 2 / (p.dac_steps or 1)
    seed = 0
    if is_noisy(p):
        seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))
    return OutputNumbers(
        step=step,
        current_factor=in_features * step / p.ir_drop_g_ratio,
        ir_drop_scale=p.ir_drop_scale * step,
        read_variance=(p.read_noise_std * step) ** 2,
        levels=1 / p.adc_step,
        code_limit=p.code_limit or 0.0,
        k0=seed & 0xFFFFFFFF,
        k1=seed >> 32,
    )


def _noise_variance(p: Periphery, scale: Tensor) -> Tensor | None:
    """Return the variance of the output noise, per output if needed; ``None`` without any noise."""
    if not is_noisy(p):
        return None
    if p.output_noise_factor is None:
        return torch.tensor([p.output_noise_std**2], dtype=torch.float32)
    return (p.output_noise_factor.to(scale) * p.output_noise_std).square()


class FusedOutput(NamedTuple):
    """Outputs of a tile, and what its backward pass needs.

    ``codes`` of the ADC have the shape of ``y``; ``dac_codes`` are in rows.
    """

    y: Tensor
    codes: Tensor
    dac_codes: Tensor | None


def fused_forward(
    x: Tensor,
    weights: CrossbarWeights,
    periphery: Periphery,
    product: Product,
    scales: Scales,
    dtype: torch.dtype,
    *,
    keep: bool,
    generator: torch.Generator | None = None,
) -> FusedOutput:
    """Return the digital outputs of a tile.

    Args:
        x: Inputs, ``(..., in_features)`` or ``(batch, channels, *space)``, float32.
        weights: Weights of the tile.
        periphery: Numbers of the signal chain.
        product: How inputs meet weights.
        scales: Input range, scalar tensor, and output scale, ``(out,)``.
        dtype: Type of the outputs.
        keep: Whether a backward pass follows.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Outputs, in the memory layout of ``x``, and codes.
    """
    p, input_range = periphery, scales.input_range.abs()
    inputs, inverse_range = border(x, product), (1 / input_range).item()
    rows = RowProduct(product, x.shape, weights.weight)
    numbers = _output_numbers(p, weights.in_features, generator)
    unit, integers = _ONE, weights.integers
    if integers is not None and isinstance(product, LinearProduct):
        unit, numbers = integers.unit, in_integers(numbers)
        integer = integer_dac(inputs, p, inverse_range, integers)
        saved: Tensor | None = integer.codes
        products = integer_products(integer, integers, p)
    else:
        dac = _dac(inputs, p, inverse_range, weights, keep)
        saved, products = dac.saved, _products(dac, weights, rows)
    y, outputs = dense(rows.output_shape, product, in_rows=inputs.in_rows)
    vectors = OutputVectors(
        flat_array(scales.output * (input_range * p.adc_step)),
        flat_array(_noise_variance(p, scales.output), np.float32),
        flat_array(unit),
    )
    codes = _adc(products, outputs, p, vectors, numbers)
    return FusedOutput(y.to(dtype), rows.from_rows(codes), saved)

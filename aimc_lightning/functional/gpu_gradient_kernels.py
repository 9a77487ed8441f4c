"""The element-wise stages of the way back through one tile as Triton kernels.

Conventions are those of :mod:`.gpu_kernels`. Sums are taken in two steps, block by block and then
over the blocks, so that they are the same in each run.
"""

import triton
import triton.language as tl


@triton.jit
def enter_backward(
    grad_y, codes, scale, grad, sums, code_limit,
    lines, width, outputs, tile_lines, tile_stride,
    LAST: tl.constexpr, LINES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write the gradient of the product, zero where the ADC was at its bound.

    ``sums`` gets, block by block, the sum of gradient times code: over the lines of a block,
    ``(blocks, width)``, or with planes over its columns, ``(lines, blocks)``. ``codes`` and
    ``grad`` of a tile begin ``tile_stride`` behind those of the last, ``grad_y`` is for all tiles.
    """
    line = tl.program_id(0) * LINES + tl.arange(0, LINES)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (line < lines) & (column < width)
    tile = line // tile_lines
    source = (line - tile * tile_lines) * width + column
    output = tile * outputs + (column if LAST else line % outputs)
    code = tl.load(codes + tile * tile_stride + source, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(grad_y + source, mask=inside, other=0.0).to(tl.float32)
    if sums is not None:
        if LAST:
            block = tl.program_id(0) * width + column
            tl.store(sums + block, tl.sum(value * code, 0)[None, :], mask=column < width)
        else:
            block = line * tl.num_programs(1) + tl.program_id(1)
            tl.store(sums + block, tl.sum(value * code, 1)[:, None], mask=line < lines)
    clipped = (code <= -code_limit) | (code >= code_limit)
    on_output = inside if LAST else line < lines  # Triton 3.2 does not widen what a mask guards
    value = tl.where(clipped, 0.0, value * tl.load(scale + output, mask=on_output, other=0.0))
    tl.store(grad + tile * tile_stride + source, value.to(grad.dtype.element_ty), mask=inside)


@triton.jit
def leave_backward(x, grad, input_range, grad_x, sums, n, BLOCK: tl.constexpr):
    """Write the gradient of the inputs, zero on or beyond the range, and two sums of each block.

    These are the gradients that widen the range, and the number of inputs on or beyond it.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    inverse = tl.div_rn(1.0, tl.abs(tl.load(input_range).to(tl.float32)))
    relative = tl.load(x + i, mask=inside, other=0.0).to(tl.float32) * inverse
    value = tl.load(grad + i, mask=inside, other=0.0).to(tl.float32)
    above, below = relative >= 1.0, relative <= -1.0
    signed = tl.where(above, value, tl.where(below, -value, 0.0))
    tl.store(sums + 2 * tl.program_id(0), tl.sum(tl.where(signed < 0, signed, 0.0), 0))
    tl.store(sums + 2 * tl.program_id(0) + 1, tl.sum((above | below).to(tl.float32), 0))
    if grad_x is not None:
        value = tl.where(above | below, 0.0, value)
        tl.store(grad_x + i, value.to(grad_x.dtype.element_ty), mask=inside)


@triton.jit
def leave_step(
    x, grad, input_range, grad_x, clipped, n, rows, features, x_stride, tile_stride,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradient of the inputs of one time step, and of those on or beyond the range.

    ``grad`` is ``(tiles, rows, features)``; ``x`` and ``grad_x`` have rows of ``x_stride``, and
    ``clipped`` of a tile begins ``tile_stride`` behind that of the last.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    tile, row, feature = i // (rows * features), (i // features) % rows, i % features
    width = tl.abs(tl.load(input_range + tile, mask=inside, other=1.0).to(tl.float32))
    place = row * x_stride + tile * features + feature
    relative = tl.load(x + place, mask=inside, other=0.0) * tl.div_rn(1.0, width)
    value = tl.load(grad + i, mask=inside, other=0.0)
    beyond = (relative >= 1.0) | (relative <= -1.0)
    tl.store(grad_x + place, tl.where(beyond, 0.0, value), mask=inside)
    where = tile * tile_stride + row * features + feature
    tl.store(clipped + where, tl.where(beyond, value, 0.0), mask=inside)


@triton.jit
def range_gradient(
    sums,
    blocks,
    input_range,
    out,
    n,
    decay,
    min_percentage,
    BLOCK: tl.constexpr,
):
    """Write the gradient of the input range from the sums of all blocks, in one program."""
    widening = tl.zeros([BLOCK], tl.float32)
    outside = tl.zeros([BLOCK], tl.float32)
    for start in range(0, blocks, BLOCK):
        block = start + tl.arange(0, BLOCK)
        widening += tl.load(sums + 2 * block, mask=block < blocks, other=0.0)
        outside += tl.load(sums + 2 * block + 1, mask=block < blocks, other=0.0)
    total, share = tl.sum(widening, 0), tl.sum(outside, 0) / n
    width = tl.load(input_range).to(tl.float32)
    gradient = width * (total + tl.where(1.0 - share > min_percentage, decay, 0.0))
    tl.store(out, gradient.to(out.dtype.element_ty))

"""The element-wise stages of one tile as Triton kernels that read and write each tensor once.

The chain is defined in :mod:`.crossbar` and :mod:`.mvm`; here stands the same arithmetic in the
same order. A tensor is a dense matrix: of vectors with the outputs along a line (``LAST``),
or of planes, one line per sample and output. A pointer of ``None`` is an effect that is off.
"""

import triton
import triton.language as tl


@triton.jit
def _round(x):
    # Adding 1.5 * 2**23 rounds to an integer, ties to even; what lies beyond 2**22 is clipped next.
    return (x + 12582912.0) - 12582912.0


@triton.jit
def _clip(x, limit):
    x = tl.where(x < -limit, -limit, x)  # NaN stays NaN, as in torch
    return tl.where(x > limit, limit, x)


@triton.jit
def _cosine_and_sine(bits):
    """Return cosine and sine of ``bits`` 2**-32 of a turn, to rounding.

    The nearest quarter turn is taken off exactly; polynomials of Cephes (``sinf.c``) do the rest,
    far faster than a library that must reduce any angle.
    """
    quarter = (bits + 536870912) >> 30
    x = (bits - (quarter << 30)).to(tl.int32, bitcast=True).to(tl.float32) * 1.4629180792671596e-09
    x2 = x * x
    cosine = ((2.443315711809948e-5 * x2 - 1.388731625493765e-3) * x2 + 4.166664568298827e-2) * x2
    cosine = (cosine - 0.5) * x2 + 1.0
    sine = ((-1.9515295891e-4 * x2 + 8.3321608736e-3) * x2 - 1.6666654611e-1) * x2 * x + x
    odd = (quarter & 1) == 1
    first, second = tl.where(odd, sine, cosine), tl.where(odd, cosine, sine)
    first = tl.where(((quarter + 1) & 2) == 2, -first, first)
    return first, tl.where((quarter & 2) == 2, -second, second)


@triton.jit
def _two_normals(bits, more_bits):
    """Return two independent standard normals of 64 random bits (Box and Muller, exact)."""
    uniform = (bits.to(tl.uint32).to(tl.float32) + 0.5) * 2.3283064365386963e-10  # 2**-32
    radius = tl.sqrt(-2.0 * tl.log(uniform))
    cosine, sine = _cosine_and_sine(more_bits.to(tl.uint32))
    return radius * cosine, radius * sine


@triton.jit
def _four_normals(seed, offset):
    a, b, c, d = tl.randint4x(tl.load(seed), offset)
    first, second = _two_normals(a, b)
    third, fourth = _two_normals(c, d)
    return first, second, third, fourth


@triton.jit
def convert_inputs(
    x, input_range, codes, coarse, magnitude, squares,
    half_steps, n, rows, features, x_stride,
    BLOCK: tl.constexpr, STACKED: tl.constexpr,
):  # fmt: skip
    """Write DAC codes, also in bfloat16, and their magnitudes and squares in bfloat16.

    ``STACKED``: inputs ``(rows, x_stride)`` of which each tile takes ``features`` become
    ``(tiles, rows, features)``, each tile with an input range of its own.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    source, tile = i, tl.zeros_like(i)
    if STACKED:
        tile = i // (rows * features)
        source = (i // features) % rows * x_stride + tile * features + i % features
    width = tl.abs(tl.load(input_range + tile, mask=inside, other=1.0).to(tl.float32))
    value = tl.load(x + source, mask=inside, other=0.0).to(tl.float32) * tl.div_rn(1.0, width)
    code = _clip(_round(_clip(value, 1.0) * half_steps), half_steps)
    tl.store(codes + i, code.to(codes.dtype.element_ty), mask=inside)
    if coarse is not None:
        tl.store(coarse + i, code.to(tl.bfloat16), mask=inside)
    if magnitude is not None:
        tl.store(magnitude + i, tl.abs(code).to(tl.bfloat16), mask=inside)
    if squares is not None:
        rounded = code.to(tl.bfloat16).to(tl.float32)
        tl.store(squares + i, (rounded * rounded).to(tl.bfloat16), mask=inside)


@triton.jit
def convert_outputs(
    z, current, weighted, squares, scale, input_range, noise_factor, y, codes, seed,
    step, current_factor, ir_drop_scale, read_variance, output_variance, levels, code_limit,
    lines, width, outputs, tile_lines, codes_stride,
    LAST: tl.constexpr, LINES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write outputs in digital units and ADC codes.

    ``lines`` rows of ``width``; ``tile_lines`` of them belong to one tile, whose codes begin
    ``codes_stride`` behind those of the last.
    """
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    first = tl.program_id(0) * LINES * 4
    if seed is not None:
        quarter = tl.program_id(0) * LINES + tl.arange(0, LINES)[:, None]
        normals = _four_normals(seed, quarter * width + column)
    for part in tl.static_range(4):
        line = first + part * LINES + tl.arange(0, LINES)[:, None]
        on_line = line < lines
        inside = on_line & (column < width)
        on_output = inside if LAST else on_line  # Triton 3.2 does not widen what a mask guards
        tile = line // tile_lines
        i = line * width + column
        output = tile * outputs + (column if LAST else line % outputs)
        value = tl.load(z + i, mask=inside).to(tl.float32) * step
        if weighted is not None:
            a = tl.load(current + i, mask=inside).to(tl.float32) * current_factor
            coefficient = ((a * 0.05 - 0.2) * a + 0.5) * a
            value -= ir_drop_scale * coefficient * tl.load(weighted + i, mask=inside).to(tl.float32)
        if seed is not None:
            spread = tl.zeros_like(value) + output_variance
            if noise_factor is not None:
                factor = tl.load(noise_factor + output, mask=on_output, other=0.0)
                spread *= factor * factor
            if squares is not None:
                spread += tl.load(squares + i, mask=inside).to(tl.float32) * read_variance
            value += tl.sqrt(spread) * normals[part]
        value = _clip(_round(value * levels), code_limit)
        if codes is not None:
            where = tile * codes_stride + (line - tile * tile_lines) * width + column
            tl.store(codes + where, value.to(codes.dtype.element_ty), mask=inside)
        unit = tl.abs(tl.load(input_range + tile, mask=on_line, other=0.0).to(tl.float32)) / levels
        value *= tl.load(scale + output, mask=on_output, other=0.0) * unit
        tl.store(y + i, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def prepare_weights(
    weight, row_stride, scale, out, magnitude, positioned, seed, n,
    w_max, factor, c0, c1, c2,
    ADDED: tl.constexpr, KEEPS_ZERO: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the normalised weights of one row with their noise, and what is derived from them."""
    row = tl.program_id(0).to(tl.int64)
    divisor = tl.load(scale + row)
    if seed is not None:
        quarter = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        normals = _four_normals(seed, row.to(tl.int32) * tl.num_programs(1) * BLOCK + quarter)
    for part in tl.static_range(4):
        column = (tl.program_id(1) * 4 + part) * BLOCK + tl.arange(0, BLOCK)
        inside = column < n
        logical = tl.load(weight + row * row_stride + column, mask=inside, other=0.0)
        value = tl.div_rn(logical, divisor)
        if seed is not None:
            r = tl.abs(value) / w_max
            if ADDED:
                value += ((c2 * r + c1) * r + c0) * factor * normals[part]
            else:
                r = tl.where(r > 1.0, 1.0, r)
                noisy = tl.abs(r + ((c2 * r + c1) * r + c0) * factor * normals[part]) * w_max
                value = tl.where(value < 0, -noisy, noisy)
                if KEEPS_ZERO:
                    value = tl.where(logical == 0, 0.0, value)
        tl.store(out + row * n + column, value.to(out.dtype.element_ty), mask=inside)
        if magnitude is not None:
            tl.store(magnitude + row * n + column, tl.abs(value).to(tl.bfloat16), mask=inside)
        if positioned is not None:
            far = 1.0 - column.to(tl.float32) / n
            place = (value * (1.0 - far * far)).to(tl.bfloat16)
            tl.store(positioned + row * n + column, place, mask=inside)

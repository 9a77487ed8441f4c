"""Exchange of two axes of a float32 matrix inside CPU kernels, 8 x 8 numbers at a time."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from aimc_lightning.functional.cpu_jit import part

_SIDE = 8  # numbers; one 256-bit register per line
_FLOAT_BYTES = 4


@intrinsic
def _exchange_tile(
    typing_context: Any,  # noqa: ANN401 - numba's protocol
    source: Any,  # noqa: ANN401
    source_stride: Any,  # noqa: ANN401
    target: Any,  # noqa: ANN401
    target_stride: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Write the transpose of the tile at one address to another; strides in bytes.

    In registers, as LLVM does not find this by itself: in stage d, lines i and i + d exchange the
    halves of each run of 2 d numbers.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        line_type = ir.VectorType(ir.FloatType(), _SIDE)
        mask_type = ir.VectorType(ir.IntType(32), _SIDE)

        def address(base: Any, stride: Any, line: int) -> Any:  # noqa: ANN401
            offset = builder.mul(stride, ir.Constant(ir.IntType(64), line))
            return builder.inttoptr(builder.add(base, offset), line_type.as_pointer())

        lines = [
            builder.load(address(args[0], args[1], i), align=_FLOAT_BYTES) for i in range(_SIDE)
        ]
        for d in (1, 2, 4):
            keep = [j if j & d == 0 else _SIDE + j - d for j in range(_SIDE)]
            take = [j + d if j & d == 0 else _SIDE + j for j in range(_SIDE)]
            for i in (i for i in range(_SIDE) if i & d == 0):
                pair = lines[i], lines[i + d]
                lines[i] = builder.shuffle_vector(*pair, ir.Constant(mask_type, keep))
                lines[i + d] = builder.shuffle_vector(*pair, ir.Constant(mask_type, take))
        for i, line in enumerate(lines):
            builder.store(line, address(args[2], args[3], i), align=_FLOAT_BYTES)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 4), generate


@part
def transpose(
    source: np.ndarray, rows: int, columns: int, stride: int, target: np.ndarray, target_stride: int
) -> None:
    """Write the transpose of a matrix.

    Args:
        source: float32, flat; element (row, column) at ``row * stride + column``.
        rows: Number of rows.
        columns: Number of columns.
        stride: Distance of two rows of the source.
        target: float32, flat; element (row, column) at ``column * target_stride + row``.
        target_stride: Distance of two columns in the target.
    """
    a, b = np.int64(source.ctypes.data), np.int64(target.ctypes.data)
    even_rows, even_columns = rows // _SIDE * _SIDE, columns // _SIDE * _SIDE
    # Columns inside: eight lines stay in the cache even if their distance is a large power of two.
    for row in range(0, even_rows, _SIDE):
        for column in range(0, even_columns, _SIDE):
            _exchange_tile(
                a + np.int64((row * stride + column) * _FLOAT_BYTES),
                np.int64(stride * _FLOAT_BYTES),
                b + np.int64((column * target_stride + row) * _FLOAT_BYTES),
                np.int64(target_stride * _FLOAT_BYTES),
            )
    for row in range(rows):
        for column in range(even_columns if row < even_rows else 0, columns):
            target[np.uint64(column * target_stride + row)] = source[
                np.uint64(row * stride + column)
            ]

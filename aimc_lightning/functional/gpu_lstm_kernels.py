"""The gates of an LSTM, input, forget, cell, output, as Triton kernels of one time step."""

import triton
import triton.language as tl


@triton.jit
def _tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def lstm_forward(x_gates, h_gates, c, saved, new_h, new_c, n, size, BLOCK: tl.constexpr):
    """Write the new states, and what the way back needs: gates, tanh of the cell, old cell state.

    All matrices have ``n / size`` rows: of four gates, ``size`` units each, or of six saved values.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    row, unit = i // size, i % size
    gate, kept = row * 4 * size + unit, row * 6 * size + unit
    old_c = tl.load(c + i, mask=inside)
    at_i = tl.load(x_gates + gate, mask=inside) + tl.load(h_gates + gate, mask=inside)
    gate += size
    at_f = tl.load(x_gates + gate, mask=inside) + tl.load(h_gates + gate, mask=inside)
    gate += size
    at_g = tl.load(x_gates + gate, mask=inside) + tl.load(h_gates + gate, mask=inside)
    gate += size
    at_o = tl.load(x_gates + gate, mask=inside) + tl.load(h_gates + gate, mask=inside)
    at_i, at_f, at_g, at_o = tl.sigmoid(at_i), tl.sigmoid(at_f), _tanh(at_g), tl.sigmoid(at_o)
    after = at_f * old_c + at_i * at_g
    tanh_c = _tanh(after)
    tl.store(saved + kept, at_i, mask=inside)
    tl.store(saved + kept + size, at_f, mask=inside)
    tl.store(saved + kept + 2 * size, at_g, mask=inside)
    tl.store(saved + kept + 3 * size, at_o, mask=inside)
    tl.store(saved + kept + 4 * size, tanh_c, mask=inside)
    tl.store(saved + kept + 5 * size, old_c, mask=inside)
    tl.store(new_h + i, at_o * tanh_c, mask=inside)
    tl.store(new_c + i, after, mask=inside)


@triton.jit
def lstm_backward(grad_h, grad_c, saved, grad_gates, grad_old_c, n, size, BLOCK: tl.constexpr):
    """Write the gradients of the gates and of the old cell state."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    row, unit = i // size, i % size
    gate, kept = row * 4 * size + unit, row * 6 * size + unit
    at_i = tl.load(saved + kept, mask=inside)
    at_f = tl.load(saved + kept + size, mask=inside)
    at_g = tl.load(saved + kept + 2 * size, mask=inside)
    at_o = tl.load(saved + kept + 3 * size, mask=inside)
    tanh_c = tl.load(saved + kept + 4 * size, mask=inside)
    old_c = tl.load(saved + kept + 5 * size, mask=inside)
    dh, dc = tl.load(grad_h + i, mask=inside), tl.load(grad_c + i, mask=inside)
    dc += dh * at_o * (1.0 - tanh_c * tanh_c)
    tl.store(grad_gates + gate, dc * at_g * at_i * (1.0 - at_i), mask=inside)
    tl.store(grad_gates + gate + size, dc * old_c * at_f * (1.0 - at_f), mask=inside)
    tl.store(grad_gates + gate + 2 * size, dc * at_i * (1.0 - at_g * at_g), mask=inside)
    tl.store(grad_gates + gate + 3 * size, dh * tanh_c * at_o * (1.0 - at_o), mask=inside)
    tl.store(grad_old_c + i, dc * at_f, mask=inside)

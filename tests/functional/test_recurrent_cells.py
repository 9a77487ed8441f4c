"""The digital half of recurrent cells against torch and against numerical differentiation."""

import pytest
import torch
from torch import nn

from aimc_lightning.functional.recurrent_cells import GRUGates, LSTMGates, RNNGates

SIZE, BATCH = 3, 4
CELLS = {
    "lstm": (LSTMGates(), nn.LSTMCell),
    "gru": (GRUGates(), nn.GRUCell),
    "tanh": (RNNGates("tanh"), nn.RNNCell),
    "relu": (RNNGates("relu"), lambda *sizes, **kw: nn.RNNCell(*sizes, nonlinearity="relu", **kw)),
}
every_cell = pytest.mark.parametrize("name", CELLS)


class _Step(torch.autograd.Function):
    """One step with the derivative under test."""

    @staticmethod
    def forward(ctx, cell, x_gates, h_gates, h, c):
        saved = torch.empty(len(h), cell.saved * h.shape[1], dtype=h.dtype)
        ctx.cell, ctx.saved = cell, saved
        new_h, new_c = cell.forward(x_gates.clone(), h_gates.clone(), h, c, saved)
        return new_h.clone(), new_c.clone()

    @staticmethod
    def backward(ctx, grad_h, grad_c):
        rows, width = len(ctx.saved), ctx.cell.gates * SIZE
        grad_x = torch.empty(rows, width, dtype=ctx.saved.dtype)
        grad_gates = grad_x if ctx.cell.adds_gates else torch.empty_like(grad_x)
        old_h, old_c = ctx.cell.backward(grad_h, grad_c, ctx.saved, grad_x, grad_gates)
        old_h = torch.zeros_like(grad_h) if old_h is None else old_h
        return None, grad_x, grad_gates, old_h, old_c


def _inputs(cell, requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    shapes = [(BATCH, cell.gates * SIZE)] * 2 + [(BATCH, SIZE)] * 2
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(requires_grad)
        for shape in shapes
    ]


@every_cell
def test_derivative_is_that_of_the_step(name):
    cell, _ = CELLS[name]
    assert torch.autograd.gradcheck(lambda *x: _Step.apply(cell, *x), _inputs(cell, True))


@every_cell
def test_step_is_that_of_the_torch_cell(name):
    cell, torch_cell = CELLS[name]
    x_gates, h_gates, h, c = _inputs(cell)
    reference = torch_cell(x_gates.shape[1], SIZE, bias=False).double()
    # One-hot input and hidden state times weights would not give free gates, so a bias does.
    reference.weight_ih.data = torch.eye(x_gates.shape[1], dtype=torch.float64)
    expected = []
    for row in range(BATCH):
        reference.weight_hh.data = torch.zeros_like(reference.weight_hh.data)
        reference.bias_ih = None
        reference.register_parameter("bias_ih", nn.Parameter(torch.zeros_like(x_gates[row])))
        reference.register_parameter("bias_hh", nn.Parameter(h_gates[row]))
        state = (h[row : row + 1], c[row : row + 1])
        out = reference(x_gates[row : row + 1], state if name == "lstm" else state[0])
        expected.append(torch.cat(out if name == "lstm" else (out,), 1))
    saved = torch.empty(BATCH, cell.saved * SIZE, dtype=torch.float64)
    new_h, new_c = cell.forward(x_gates, h_gates, h, c, saved)
    ours = torch.cat([new_h, new_c], 1) if name == "lstm" else new_h
    torch.testing.assert_close(ours, torch.cat(expected))

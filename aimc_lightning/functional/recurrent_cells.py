"""The digital half of recurrent cells, gates to state, with its derivative.

Products with weights are not here. Everything works on rows of a batch and writes into buffers of a
whole sequence, so that a time step costs few operations.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aimc_lightning.functional import kernels

_sigmoid_backward = torch.ops.aten.sigmoid_backward
_tanh_backward = torch.ops.aten.tanh_backward


class RecurrentCell(Protocol):
    """One time step after the products: ``x`` gates and ``h`` gates come in, the state goes out."""

    @property
    def gates(self) -> int:
        """Number of gates, each of the hidden size."""
        ...

    @property
    def saved(self) -> int:
        """Values that the derivative needs, in multiples of the hidden size."""
        ...

    @property
    def adds_gates(self) -> bool:
        """Whether both products are merely added, so that their gradients are equal."""
        ...

    def forward(
        self, x_gates: Tensor, h_gates: Tensor, h: Tensor, c: Tensor, saved: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the new hidden and cell state.

        Args:
            x_gates: Product of the input, bias included, ``(batch, gates * hidden)``.
            h_gates: Product of the hidden state, ``(batch, gates * hidden)``.
            h: Hidden state before the step, ``(batch, hidden)`` (without projection).
            c: Cell state before the step, ``(batch, hidden)``; unused but by LSTM.
            saved: Filled for :meth:`backward`, ``(batch, saved * hidden)``.
        """
        ...

    def backward(
        self, grad_h: Tensor, grad_c: Tensor, saved: Tensor, grad_x_gates: Tensor,
        grad_h_gates: Tensor,
    ) -> tuple[Tensor | None, Tensor]:  # fmt: skip
        """Return the gradients of the old states past the products.

        Args:
            grad_h: Gradient of the new hidden state, ``(batch, hidden)``.
            grad_c: Gradient of the new cell state, ``(batch, hidden)``.
            saved: From :meth:`forward`.
            grad_x_gates: Filled with the gradient of ``x_gates``.
            grad_h_gates: Filled with that of ``h_gates``, unless :attr:`adds_gates`.

        Returns:
            Gradient of the old hidden state but for what flows through ``h_gates`` (``None`` if
            there is no other), and of the old cell state.
        """
        ...


class LSTMGates(NamedTuple):
    r"""Long short-term memory, gate order input, forget, cell, output.

    .. math:: c' = \sigma(f)\, c + \sigma(i) \tanh(g), \qquad h' = \sigma(o) \tanh(c')

    Source:
        Gate order as in torch.nn.LSTM and in IBM/aihwkit, ``src/aihwkit/nn/modules/rnn/cells.py``.

    Example:
        >>> gates, zero = torch.zeros(1, 4), torch.zeros(1, 1)
        >>> h, c = LSTMGates().forward(gates, gates, zero, torch.ones(1, 1), torch.empty(1, 6))
        >>> c
        tensor([[0.5000]])
    """

    @property
    def gates(self) -> int:
        """Number of gates."""
        return 4

    @property
    def saved(self) -> int:
        """Gates, tanh of the new cell state, old cell state."""
        return 6

    @property
    def adds_gates(self) -> bool:
        """Whether both products are merely added."""
        return True

    def forward(
        self, x_gates: Tensor, h_gates: Tensor, h: Tensor, c: Tensor, saved: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the new states, see :class:`RecurrentCell`."""
        if _serves(x_gates, h_gates, c, saved):
            return kernels.gpu_lstm_forward(x_gates, h_gates, c, saved)
        size = c.shape[1]
        torch.add(x_gates, h_gates, out=saved[:, : 4 * size])
        saved[:, : 2 * size].sigmoid_()
        saved[:, 2 * size : 3 * size].tanh_()
        saved[:, 3 * size : 4 * size].sigmoid_()
        i, f, g, o, tanh_c, old_c = saved.split(size, 1)
        old_c.copy_(c)
        new_c = (f * c).addcmul_(i, g)
        torch.tanh(new_c, out=tanh_c)
        return o * tanh_c, new_c

    def backward(
        self, grad_h: Tensor, grad_c: Tensor, saved: Tensor, grad_x_gates: Tensor,
        grad_h_gates: Tensor,
    ) -> tuple[Tensor | None, Tensor]:  # fmt: skip
        """Return the gradients of the old states, see :class:`RecurrentCell`."""
        if _serves(grad_h, grad_c, saved, grad_x_gates):
            return None, kernels.gpu_lstm_backward(grad_h, grad_c, saved, grad_x_gates)
        i, f, g, o, tanh_c, old_c = saved.split(saved.shape[1] // 6, 1)
        grad_i, grad_f, grad_g, grad_o = grad_x_gates.split(i.shape[1], 1)
        grad_c = _tanh_backward(grad_h * o, tanh_c).add_(grad_c)
        torch.mul(grad_h, tanh_c, out=grad_o)
        torch.mul(grad_c, g, out=grad_i)
        torch.mul(grad_c, old_c, out=grad_f)
        torch.mul(grad_c, i, out=grad_g)
        for grad, value, derivative in (
            (grad_x_gates[:, : 2 * i.shape[1]], saved[:, : 2 * i.shape[1]], _sigmoid_backward),
            (grad_g, g, _tanh_backward),
            (grad_o, o, _sigmoid_backward),
        ):
            derivative.grad_input(grad, value, grad_input=grad)
        return None, grad_c.mul_(f)


def _serves(*tensors: Tensor) -> bool:
    """Return whether the kernel of a GPU takes all of a step at once."""
    return kernels.HAS_GPU_KERNELS and all(
        kernels.is_on_gpu(x) and x.dtype == torch.float32 and x.is_contiguous() for x in tensors
    )


class GRUGates(NamedTuple):
    r"""Gated recurrent unit, gate order reset, update, new.

    .. math:: n = \tanh(x_n + \sigma(r)\, h_n), \qquad h' = n + \sigma(z) (h - n)

    Source:
        As in torch.nn.GRU: the bias of ``h_n`` lies inside the product with the reset gate.

    Example:
        >>> gates, one = torch.zeros(1, 3), torch.ones(1, 1)
        >>> h, _ = GRUGates().forward(gates, gates, one, one, torch.empty(1, 5))
        >>> h
        tensor([[0.5000]])
    """

    @property
    def gates(self) -> int:
        """Number of gates."""
        return 3

    @property
    def saved(self) -> int:
        """Gates, recurrent part of the new gate, old hidden state."""
        return 5

    @property
    def adds_gates(self) -> bool:
        """Whether both products are merely added."""
        return False

    def forward(
        self, x_gates: Tensor, h_gates: Tensor, h: Tensor, c: Tensor, saved: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the new states, see :class:`RecurrentCell`."""
        size = h.shape[1]
        torch.add(x_gates[:, : 2 * size], h_gates[:, : 2 * size], out=saved[:, : 2 * size])
        saved[:, : 2 * size].sigmoid_()
        r, z, n, h_new, old_h = saved.split(size, 1)
        old_h.copy_(h)
        h_new.copy_(h_gates[:, 2 * size :])
        torch.addcmul(x_gates[:, 2 * size :], r, h_new, out=n)
        n.tanh_()
        return torch.lerp(n, h, z), c

    def backward(
        self, grad_h: Tensor, grad_c: Tensor, saved: Tensor, grad_x_gates: Tensor,
        grad_h_gates: Tensor,
    ) -> tuple[Tensor | None, Tensor]:  # fmt: skip
        """Return the gradients of the old states, see :class:`RecurrentCell`."""
        size = saved.shape[1] // 5
        r, z, n, h_new, old_h = saved.split(size, 1)
        grad_r, grad_z, grad_n = grad_x_gates.split(size, 1)
        grad_old_h = grad_h * z
        _tanh_backward.grad_input(grad_h - grad_old_h, n, grad_input=grad_n)
        torch.mul(grad_h, old_h - n, out=grad_z)
        torch.mul(grad_n, h_new, out=grad_r)
        both = grad_x_gates[:, : 2 * size]
        _sigmoid_backward.grad_input(both, saved[:, : 2 * size], grad_input=both)
        grad_h_gates[:, : 2 * size].copy_(both)
        torch.mul(grad_n, r, out=grad_h_gates[:, 2 * size :])
        return grad_old_h, grad_c


class RNNGates(NamedTuple):
    """Plain recurrent unit, ``h' = tanh(x + h)`` or ``relu(x + h)`` of the two products.

    Example:
        >>> one = torch.ones(1, 1)
        >>> h, _ = RNNGates("relu").forward(one, one, one, one, torch.empty(1, 1))
        >>> h
        tensor([[2.]])
    """

    nonlinearity: str

    @property
    def gates(self) -> int:
        """Number of gates."""
        return 1

    @property
    def saved(self) -> int:
        """New hidden state."""
        return 1

    @property
    def adds_gates(self) -> bool:
        """Whether both products are merely added."""
        return True

    def forward(
        self, x_gates: Tensor, h_gates: Tensor, h: Tensor, c: Tensor, saved: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the new states, see :class:`RecurrentCell`."""
        torch.add(x_gates, h_gates, out=saved)
        return (saved.tanh_() if self.nonlinearity == "tanh" else saved.relu_()), c

    def backward(
        self, grad_h: Tensor, grad_c: Tensor, saved: Tensor, grad_x_gates: Tensor,
        grad_h_gates: Tensor,
    ) -> tuple[Tensor | None, Tensor]:  # fmt: skip
        """Return the gradients of the old states, see :class:`RecurrentCell`."""
        if self.nonlinearity == "tanh":
            _tanh_backward.grad_input(grad_h, saved, grad_input=grad_x_gates)
        else:
            torch.mul(grad_h, saved.sign(), out=grad_x_gates)
        return None, grad_c

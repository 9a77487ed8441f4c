"""LSTM, GRU and plain recurrent cells (one time step for each call) on analog tiles."""

from typing import Any

from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.recurrent_cells import GRUGates, LSTMGates, RecurrentCell, RNNGates
from aimc_lightning.nn.base import adopt_with_arrays, restore
from aimc_lightning.nn.recurrence import run_steps
from aimc_lightning.nn.recurrent import State, input_gates

Cell = nn.LSTMCell | nn.GRUCell | nn.RNNCell


def _from_digital(cls: type, layer: Cell, config: TileConfig) -> Any:  # noqa: ANN401
    return adopt_with_arrays(layer, cls, ["weight_ih", "weight_hh"], config, ["weight_hh"])


def _crossbar_weight(layer: Cell, name: str) -> Tensor:
    """Return the logical weights that an array holds, ``(out, in)``."""
    return getattr(layer, name)


def _bypass(layer: Any) -> bool:  # noqa: ANN401 - an analog cell
    """Return whether the digital layer itself may run."""
    return all(array.bypass for array in layer.analog.values())


def _forward(
    layer: Any,  # noqa: ANN401 - an analog cell
    cell: RecurrentCell,
    x: Tensor,
    state: list[Tensor] | None,
) -> State:
    """Run one step; ``state`` is a list of one (hidden) or two tensors."""
    if x.dim() not in (1, 2):
        raise ValueError(f"A recurrent cell takes inputs of 1 or 2 dimensions, got {x.dim()}.")
    rows = x if x.dim() == 2 else x.unsqueeze(0)
    if state is None:
        state = [x.new_zeros(len(rows), layer.hidden_size)]
    elif x.dim() == 1:
        state = [value.unsqueeze(0) for value in state]
    inside = isinstance(cell, GRUGates)  # its reset gate multiplies the recurrent bias as well
    biases = [layer.bias_ih, None if inside else layer.bias_hh]
    gates = input_gates(layer.analog["weight_ih"], rows, layer.weight_ih, biases)
    out, _, c = run_steps(
        cell, gates, layer.bias_hh if inside else None, (state[0], state[-1]), [len(rows)],
        [(layer.analog["weight_hh"], layer.weight_hh)],
    )  # fmt: skip
    return (out, c) if x.dim() == 2 else (out.squeeze(0), c.squeeze(0))


class AnalogLSTMCell(nn.LSTMCell):
    """A cell of long short-term memory whose products run on analog tiles.

    Training noise on the weights is drawn for each call; set ``WeightNoiseConfig.draw='step'`` to
    keep one draw over a sequence. Make one with ``from_digital``.

    Example:
        >>> import torch
        >>> cell = AnalogLSTMCell.from_digital(nn.LSTMCell(4, 3), TileConfig())
        >>> h, c = cell(torch.zeros(2, 4))
        >>> h.shape
        torch.Size([2, 3])
    """

    from_digital: Any = classmethod(_from_digital)
    to_digital = restore
    crossbar_weight = _crossbar_weight
    bypass = property(_bypass)

    def forward(
        self,
        input: Tensor,
        hx: State | None = None,
    ) -> State:
        """Return the new hidden and cell state.

        Args:
            input: ``(batch, in)`` or ``(in,)``.
            hx: Hidden and cell state; zeros if ``None``.
        """
        if self.bypass:
            return super().forward(input, hx)
        return _forward(self, LSTMGates(), input, None if hx is None else list(hx))


class AnalogGRUCell(nn.GRUCell):
    """A cell of a gated recurrent unit whose products run on analog tiles.

    Training noise as in :class:`AnalogLSTMCell`. Make one with ``from_digital``.

    Example:
        >>> import torch
        >>> cell = AnalogGRUCell.from_digital(nn.GRUCell(4, 3), TileConfig())
        >>> cell(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    from_digital: Any = classmethod(_from_digital)
    to_digital = restore
    crossbar_weight = _crossbar_weight
    bypass = property(_bypass)

    def forward(
        self,
        input: Tensor,
        hx: Tensor | None = None,
    ) -> Tensor:
        """Return the new hidden state, ``(batch, in)`` or ``(in,)`` in."""
        if self.bypass:
            return super().forward(input, hx)
        return _forward(self, GRUGates(), input, None if hx is None else [hx])[0]


class AnalogRNNCell(nn.RNNCell):
    """A plain recurrent cell whose products run on analog tiles.

    Training noise as in :class:`AnalogLSTMCell`. Make one with ``from_digital``.

    Example:
        >>> import torch
        >>> cell = AnalogRNNCell.from_digital(nn.RNNCell(4, 3), TileConfig())
        >>> cell(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    from_digital: Any = classmethod(_from_digital)
    to_digital = restore
    crossbar_weight = _crossbar_weight
    bypass = property(_bypass)

    def forward(
        self,
        input: Tensor,
        hx: Tensor | None = None,
    ) -> Tensor:
        """Return the new hidden state, ``(batch, in)`` or ``(in,)`` in."""
        if self.bypass:
            return super().forward(input, hx)
        cell = RNNGates(self.nonlinearity)
        return _forward(self, cell, input, None if hx is None else [hx])[0]

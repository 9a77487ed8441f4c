"""LSTM, GRU and plain recurrent layers on analog tiles.

Input and recurrent matrix have tiles of their own, so the input product of all time steps is one
product; only the recurrent one runs step by step.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.functional.recurrent_cells import GRUGates, LSTMGates, RecurrentCell, RNNGates
from aimc_lightning.nn.base import adopt_with_arrays, restore
from aimc_lightning.nn.recurrence import run_steps
from aimc_lightning.tiles.array import TileArray

_CELLS: dict[str, RecurrentCell] = {
    "LSTM": LSTMGates(),
    "GRU": GRUGates(),
    "RNN_TANH": RNNGates("tanh"),
    "RNN_RELU": RNNGates("relu"),
}
State = tuple[Tensor, Tensor]


def input_gates(
    array: TileArray, x: Tensor, weight: Tensor, biases: Sequence[Tensor | None]
) -> Tensor:
    """Return the input product of all time steps plus biases.

    Args:
        array: Tiles of the input matrix.
        x: Inputs, ``(rows, in)``.
        weight: Logical weights, ``(gates * hidden, in)``.
        biases: Each ``(gates * hidden,)`` or ``None``.
    """
    y = array(x, weight, LinearProduct())
    for bias in biases:
        y = y if bias is None else y + bias.to(y.dtype)
    return y


def _weight_names(layer: nn.RNNBase) -> list[str]:
    kinds = ["weight_ih", "weight_hh"] + ["weight_hr"] * (layer.proj_size > 0)
    return [f"{kind}{suffix}" for suffix in _suffixes(layer) for kind in kinds]


def _suffixes(layer: nn.RNNBase) -> list[str]:
    directions = ["", "_reverse"] if layer.bidirectional else [""]
    return [f"_l{depth}{way}" for depth in range(layer.num_layers) for way in directions]


def _from_digital(cls: type, layer: nn.RNNBase, config: TileConfig) -> Any:  # noqa: ANN401
    names = _weight_names(layer)
    stepwise = [name for name in names if not name.startswith("weight_ih")]
    return adopt_with_arrays(layer, cls, names, config, stepwise)


def _crossbar_weight(layer: nn.RNNBase, name: str) -> Tensor:
    """Return the logical weights that an array holds, ``(out, in)``."""
    return getattr(layer, name)


def _bypass(layer: Any) -> bool:  # noqa: ANN401 - an analog layer
    """Return whether the digital layer itself may run."""
    return all(array.bypass for array in layer.analog.values())


def _require_floating(x: Tensor | PackedSequence) -> None:
    dtype = x.data.dtype
    if not dtype.is_floating_point:
        raise TypeError(
            f"An analog layer takes floating-point inputs, got {dtype}; convert them, for example "
            "with x.float()."
        )


def _forward(
    layer: nn.RNNBase, x: Tensor | PackedSequence, state: list[Tensor] | None
) -> tuple[Tensor | PackedSequence, list[Tensor]]:
    """Run all layers and directions; ``state`` is a list of one (hidden) or two tensors."""
    if isinstance(x, PackedSequence):
        sizes, order, back = x.batch_sizes, x.sorted_indices, x.unsorted_indices
        state = _checked_state(layer, x.data, state, sizes, order)
        out, last = _run_layers(layer, x.data, state, sizes.tolist())
        last = [value if back is None else value.index_select(1, back) for value in last]
        return PackedSequence(out, sizes, order, back), last
    if x.dim() not in (2, 3):
        raise ValueError(f"{layer.mode} takes inputs of 2 or 3 dimensions, got {x.dim()}.")
    batched, batch_axis = x.dim() == 3, 0 if layer.batch_first else 1
    for value in state or ():
        if value.dim() != x.dim():
            raise RuntimeError(
                f"For an input of {x.dim()} dimensions the state must have {x.dim()}, got "
                f"{value.dim()}."
            )
    x = x if batched else x.unsqueeze(batch_axis)
    if state is not None and not batched:
        state = [value.unsqueeze(1) for value in state]
    state = _checked_state(layer, x, state, None, None)
    steps = x.transpose(0, 1) if layer.batch_first else x
    length, batch = steps.shape[:2]
    if length == 0:
        raise RuntimeError(
            f"{layer.mode} needs a sequence of at least one time step, got {length}."
        )
    out, last = _run_layers(layer, steps.flatten(0, 1), state, [batch] * length)
    out = out.unflatten(0, (length, batch))
    out = out.transpose(0, 1) if layer.batch_first else out
    if not batched:
        return out.squeeze(batch_axis), [value.squeeze(1) for value in last]
    return out, last


def _checked_state(
    layer: nn.RNNBase,
    x: Tensor,
    state: list[Tensor] | None,
    batch_sizes: Tensor | None,
    order: Tensor | None,
) -> list[Tensor]:
    """Return the first hidden (and cell) state, ``(layers * directions, batch, size)``."""
    axis = 0 if layer.batch_first else 1
    batch = x.shape[axis] if batch_sizes is None else int(batch_sizes[0])
    if state is None:
        lead = (layer.num_layers * (1 + layer.bidirectional), batch)
        state = [x.new_zeros(*lead, layer.proj_size or layer.hidden_size)]
        if layer.mode == "LSTM":
            state.append(x.new_zeros(*lead, layer.hidden_size))
    elif order is not None:
        state = [value.index_select(1, order) for value in state]
    hidden: Any = tuple(state) if layer.mode == "LSTM" else state[0]
    layer.check_forward_args(x, hidden, batch_sizes)
    return state


def _run_layers(
    layer: nn.RNNBase, x: Tensor, state: list[Tensor], batch_sizes: list[int]
) -> tuple[Tensor, list[Tensor]]:
    """Run on packed rows ``(rows, features)``."""
    last_h, last_c, outputs = [], [], []
    directions = 1 + layer.bidirectional
    for index, suffix in enumerate(_suffixes(layer)):
        first = (state[0][index], state[-1][index])
        out, h, c = _run_direction(layer, suffix, x, first, batch_sizes)
        outputs.append(out)
        last_h.append(h)
        last_c.append(c)
        if len(outputs) == directions:
            x, outputs = torch.cat(outputs, 1) if directions > 1 else out, []
            if layer.dropout > 0 and index + 1 < layer.num_layers * directions:
                x = F.dropout(x, layer.dropout, layer.training)
    last = [torch.stack(last_h)]
    return x, [*last, torch.stack(last_c)] if len(state) > 1 else last


def _run_direction(
    layer: nn.RNNBase, suffix: str, x: Tensor, state: State, batch_sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    arrays: Any = layer.analog

    def matrix(kind: str) -> tuple[TileArray, Tensor]:
        name = f"{kind}{suffix}"
        return arrays[name], getattr(layer, name)

    bias_ih = getattr(layer, f"bias_ih{suffix}") if layer.bias else None
    bias_hh = getattr(layer, f"bias_hh{suffix}") if layer.bias else None
    inside = layer.mode == "GRU"  # its reset gate multiplies the recurrent bias as well
    array, weight = matrix("weight_ih")
    gates = input_gates(array, x, weight, [bias_ih, None if inside else bias_hh])
    matrices = [matrix("weight_hh")]
    if layer.proj_size > 0:
        matrices.append(matrix("weight_hr"))
    return run_steps(
        _CELLS[layer.mode], gates, bias_hh if inside else None, state, batch_sizes, matrices,
        reverse=suffix.endswith("_reverse"),
    )  # fmt: skip


class AnalogLSTM(nn.LSTM):
    """A long short-term memory whose products run on analog tiles; gates and states are digital.

    Parameters keep the names of the digital layer. Make one with ``from_digital``.

    Example:
        >>> layer = AnalogLSTM.from_digital(nn.LSTM(4, 3, num_layers=2), TileConfig())
        >>> out, (h, c) = layer(torch.zeros(5, 2, 4))
        >>> out.shape, h.shape
        (torch.Size([5, 2, 3]), torch.Size([2, 2, 3]))
    """

    from_digital: Any = classmethod(_from_digital)
    to_digital = restore
    crossbar_weight = _crossbar_weight
    bypass = property(_bypass)

    def forward(  # type: ignore[override]
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Return the hidden states of all steps, and the last hidden and cell state.

        Args:
            input: ``(length, batch, in)``, batch first if so configured, unbatched or packed.
            hx: First hidden and cell state; zeros if ``None``.
        """
        _require_floating(input)
        if self.bypass:
            return super().forward(input, hx)
        out, state = _forward(self, input, None if hx is None else list(hx))
        return out, (state[0], state[1])


class AnalogGRU(nn.GRU):
    """A gated recurrent unit whose products run on analog tiles; gates and states are digital.

    Parameters keep the names of the digital layer. Make one with ``from_digital``.

    Example:
        >>> layer = AnalogGRU.from_digital(nn.GRU(4, 3, bidirectional=True), TileConfig())
        >>> layer(torch.zeros(5, 2, 4))[0].shape
        torch.Size([5, 2, 6])
    """

    from_digital: Any = classmethod(_from_digital)
    to_digital = restore
    crossbar_weight = _crossbar_weight
    bypass = property(_bypass)

    def forward(  # type: ignore[override]
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Return the hidden states of all steps, and the last one; see :class:`AnalogLSTM`."""
        _require_floating(input)
        if self.bypass:
            return super().forward(input, hx)
        out, state = _forward(self, input, None if hx is None else [hx])
        return out, state[0]


class AnalogRNN(nn.RNN):
    """A plain recurrent layer whose products run on analog tiles; tanh or relu is digital.

    Parameters keep the names of the digital layer. Make one with ``from_digital``.

    Example:
        >>> layer = AnalogRNN.from_digital(nn.RNN(4, 3), TileConfig())
        >>> layer(torch.zeros(5, 2, 4))[0].shape
        torch.Size([5, 2, 3])
    """

    from_digital: Any = classmethod(_from_digital)
    to_digital = restore
    crossbar_weight = _crossbar_weight
    bypass = property(_bypass)

    def forward(  # type: ignore[override]
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Return the hidden states of all steps, and the last one; see :class:`AnalogLSTM`."""
        _require_floating(input)
        if self.bypass:
            return super().forward(input, hx)
        out, state = _forward(self, input, None if hx is None else [hx])
        return out, state[0]

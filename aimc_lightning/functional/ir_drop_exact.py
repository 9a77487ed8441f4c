"""Exact currents of a small crossbar with resistive wires, to judge the fast approximation."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]
from scipy.sparse.linalg import splu  # type: ignore[import-untyped]
from torch import Tensor

from aimc_lightning.functional.ir_drop import position_weights, subtract_ir_drop_

_OHM_PER_MICROSIEMENS = 1e6  # 1 uS is the conductance of 1e6 ohm


def exact_crossbar_currents(
    conductances_us: Tensor,
    voltages_v: Tensor,
    *,
    r_bitline_ohm: float = 0.35,
    r_wordline_ohm: float = 0.0,
) -> Tensor:
    r"""Return the column currents of a crossbar from Kirchhoff's current law at every node.

    Each cell joins its wordline (input j) to its bitline (output i). Wordlines are driven at their
    end beside output 0, bitlines are read there by an ideal amplifier (0 V) beside input 0: the
    one-sided read that :func:`~aimc_lightning.functional.ir_drop.subtract_ir_drop_` approximates.
    Every cell has one segment of each wire, between itself and its neighbour towards the driver or
    the amplifier. With node potentials v and the Laplacian L of all conductances:

    .. math:: L_{uu} v_u = -L_{uk} v_k, \qquad I_i = \sum_j g_{ij} (v^w_{ij} - v^b_{ij})

    Args:
        conductances_us: Conductance of each cell in microsiemens, ``(out, in)``, not negative.
        voltages_v: Driving voltages in volt, shape ``(..., in)``.
        r_bitline_ohm: Resistance of one bitline segment in ohm; 0 is a perfect wire.
        r_wordline_ohm: Resistance of one wordline segment in ohm; 0 is a perfect wire, as the
            approximation assumes.

    Returns:
        Currents in microampere, shape ``(..., out)``, dtype of ``voltages_v``; without gradients.

    Raises:
        ValueError: If a conductance or resistance is negative or not finite, or shapes differ.

    Source:
        Nodal analysis; solved in double precision by SciPy's sparse LU. Left out: capacitance,
        selectors, devices whose current is not proportional to the voltage.

    Example:
        >>> import torch
        >>> cell = torch.tensor([[1e6]])  # 1 ohm behind a wire of 1 ohm
        >>> exact_crossbar_currents(cell, torch.tensor([1.0]), r_bitline_ohm=1.0)
        tensor([500000.])
    """
    g = _checked_array(conductances_us)
    for name, value in (("r_bitline_ohm", r_bitline_ohm), ("r_wordline_ohm", r_wordline_ohm)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and not negative, got {value}.")
    if voltages_v.shape[-1] != g.shape[1]:
        raise ValueError(
            f"voltages_v has {voltages_v.shape[-1]} inputs, but conductances_us has {g.shape[1]}; "
            "its shape must be (out, in)."
        )
    volts = voltages_v.detach().cpu().double().reshape(-1, g.shape[1]).numpy()
    currents = torch.from_numpy(_solve(g, volts, r_bitline_ohm, r_wordline_ohm))
    return currents.reshape(*voltages_v.shape[:-1], g.shape[0]).to(voltages_v)


def _checked_array(conductances_us: Tensor) -> NDArray[np.float64]:
    g = conductances_us.detach().cpu().double().numpy()
    if g.ndim != 2 or g.size == 0:
        raise ValueError(f"conductances_us must have a shape (out, in), got {g.shape}.")
    if not (np.isfinite(g).all() and (g >= 0).all()):
        raise ValueError("conductances_us must be finite and not negative; it holds other values.")
    return g


def _solve(
    g: NDArray[np.float64], volts: NDArray[np.float64], r_bitline: float, r_wordline: float
) -> NDArray[np.float64]:
    """Return currents ``(batch, out)`` for voltages ``(batch, in)``."""
    out, inputs = g.shape
    cells = np.arange(out * inputs).reshape(out, inputs)
    # Nodes: unknown potentials first, then the drivers, then ground. Without resistance, a wire is
    # one node with its driver or with ground.
    unknown = out * inputs * ((r_bitline > 0) + (r_wordline > 0))
    drivers, ground = unknown + np.arange(inputs), unknown + inputs
    bit = cells if r_bitline > 0 else np.full_like(cells, ground)
    offset = out * inputs if r_bitline > 0 else 0
    word = cells + offset if r_wordline > 0 else np.broadcast_to(drivers, cells.shape)
    edges = [(word, bit, g)]
    if r_bitline > 0:
        before = np.column_stack([np.full(out, ground), bit[:, :-1]])
        edges.append((bit, before, np.full_like(g, _OHM_PER_MICROSIEMENS / r_bitline)))
    if r_wordline > 0:
        before = np.vstack([drivers, word[:-1]])
        edges.append((word, before, np.full_like(g, _OHM_PER_MICROSIEMENS / r_wordline)))
    known = np.vstack([volts.T, np.zeros((1, len(volts)))])
    potentials = _potentials(edges, unknown, known)
    drop = potentials[word] - potentials[bit]  # (out, in, batch)
    return np.einsum("oi,oib->bo", g, drop)


def _potentials(
    edges: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]],
    unknown: int,
    known: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the potentials of all nodes, ``(unknown + known, batch)``."""
    if unknown == 0:
        return known
    a, b, g = (
        np.concatenate([part.ravel() for part in parts]) for parts in zip(*edges, strict=True)
    )
    size = unknown + len(known)
    rows, columns = np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a])
    values = np.concatenate([g, g, -g, -g])
    laplacian = sparse.coo_matrix((values, (rows, columns)), shape=(size, size)).tocsc()
    solved = splu(laplacian[:unknown, :unknown]).solve(-(laplacian[:unknown, unknown:] @ known))
    return np.vstack([solved, known])


class IRDropComparison(NamedTuple):
    """IR drop of one array size, each number relative to the norm of the ideal outputs.

    Attributes:
        in_features: Inputs of the array.
        exact_drop: Norm of the exact IR drop.
        approximate_drop: Norm of the IR drop that the fast approximation subtracts.
        error: Norm of the difference between exact and approximate outputs.
    """

    in_features: int
    exact_drop: float
    approximate_drop: float
    error: float


def compare_ir_drop(
    sizes: Sequence[int],
    *,
    signed: bool = True,
    amplitude: float = 1.0,
    r_wire_ohm: float = 0.35,
    g_unit_us: float = 5.0,
    r_wordline_ohm: float = 0.0,
    out_features: int = 8,
    generator: torch.Generator | None = None,
) -> list[IRDropComparison]:
    """Return how well the fast IR-drop approximation does over array sizes.

    Weights and inputs are uniform; signed weights are the difference of two columns, each with an
    exact drop of its own. A resistive array is linear: its relative drop is the same for small and
    large inputs. The approximation takes the drop to be proportional to the current that the inputs
    draw, so it is right for inputs of full magnitude and too small for smaller ones, and it counts
    the currents of both columns of a pair together.

    Args:
        sizes: Numbers of inputs.
        signed: Weights and inputs of both signs; otherwise none is negative.
        amplitude: Largest input, dimensionless; 1 is full scale.
        r_wire_ohm: Resistance of one bitline segment in ohm.
        g_unit_us: Conductance of a full weight in microsiemens.
        r_wordline_ohm: Resistance of one wordline segment in ohm, which the approximation leaves
            out.
        out_features: Outputs of each array.
        generator: Random numbers on the CPU; torch's own if ``None``.

    Returns:
        One comparison for each size, of 32 input vectors.

    Example:
        >>> import torch
        >>> row, = compare_ir_drop([64], generator=torch.Generator().manual_seed(0))
        >>> row.error < row.exact_drop / 4
        True
    """
    low = -1.0 if signed else 0.0
    ratio = _OHM_PER_MICROSIEMENS / (r_wire_ohm * g_unit_us) if r_wire_ohm > 0 else math.inf
    rows = []
    for size in sizes:
        weight, x = (
            torch.empty(count, size, dtype=torch.float64).uniform_(low, 1.0, generator=generator)
            for count in (out_features, 32)
        )
        x *= amplitude
        exact = torch.zeros(len(x), out_features, dtype=torch.float64)
        for sign in (1.0, -1.0) if signed else (1.0,):
            exact += (
                sign
                / g_unit_us
                * exact_crossbar_currents(
                    (sign * weight).clamp(min=0) * g_unit_us,
                    x,
                    r_bitline_ohm=r_wire_ohm,
                    r_wordline_ohm=r_wordline_ohm,
                )
            )
        ideal = x @ weight.t()
        position = position_weights(size, dtype=x.dtype, device=x.device)
        current, weighted = x.abs() @ weight.abs().t(), x @ (weight * position).t()
        fast = subtract_ir_drop_(ideal.clone(), current, weighted, size, 1.0, ratio)
        norms = [float((a - b).norm() / ideal.norm())
                 for a, b in ((ideal, exact), (ideal, fast), (exact, fast))]  # fmt: skip
        rows.append(IRDropComparison(size, *norms))
    return rows

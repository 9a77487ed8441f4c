"""Drift compensation: the value read out from a tile and the digital factor made from it.

The read-out itself (one-hot vectors through the tile) is in ``aimc_lightning.tiles``.
"""

from torch import Tensor

_SMALLEST_READOUT = 1e-4


def compensation_readout(output: Tensor, *, per_column: bool = False) -> Tensor:
    r"""Return the read-out value of drift compensation.

    .. math:: \rho = \max\big(\overline{|y_{ki}|},\; 10^{-4}\big)

    averaged over all inputs ``k`` and outputs ``i``, or over the inputs alone.

    Args:
        output: Tile output for the read-out inputs, shape ``(inputs, out)``, dimensionless.
        per_column: Whether every output has a value of its own.

    Returns:
        A scalar, or shape ``(out,)`` with ``per_column``, dimensionless, at least 1e-4.

    Raises:
        ValueError: If ``output`` is not a matrix.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/compensation/drift.py``.

    Example:
        >>> import torch
        >>> compensation_readout(torch.tensor([[0.5, -1.5], [0.0, 0.0]]))
        tensor(0.5000)
        >>> compensation_readout(torch.tensor([[0.5, -1.5], [0.0, 0.0]]), per_column=True)
        tensor([0.2500, 0.7500])
    """
    if output.ndim != 2:
        raise ValueError(
            f"output has shape {tuple(output.shape)}, but it must be a matrix (inputs, out)."
        )
    magnitude = output.abs()
    value = magnitude.mean(dim=0) if per_column else magnitude.mean()
    return value.clamp(min=_SMALLEST_READOUT)


def compensation_factor(baseline: Tensor, current: Tensor) -> Tensor:
    r"""Return the factor that restores the read-out value of the baseline.

    .. math:: \alpha = \rho_\text{baseline} / \rho(t)

    Args:
        baseline: Read-out value right after programming (or of the ideal weights), a scalar or
            shape ``(out,)``, dimensionless.
        current: Read-out value now, same shape, dimensionless.

    Returns:
        Factor on the digital output of the tile, same shape, dimensionless.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/compensation/base.py``.

    Example:
        >>> import torch
        >>> compensation_factor(torch.tensor(0.5), torch.tensor(0.25))
        tensor(2.)
    """
    return baseline / current

"""Weights to conductances and back, for pairs of devices, tables and single devices.

Converters with names and settings are in ``aimc_lightning.devices.converters``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from aimc_lightning.functional.curves import interpolate_table

SMALLEST_MAXIMUM = 1e-7  # an all-zero matrix gets a finite scale


def weights_to_pairs(
    weight: Tensor, g_max_us: float, g_min_us: float = 0.0, factors: Sequence[float] = (1.0,)
) -> tuple[list[Tensor], Tensor]:
    r"""Return the conductances of one or more device pairs per weight.

    .. math::
        k = \frac{(g_\max - g_\min) \sum_p f_p}{\max |w|}, \qquad
        g^\pm_p = \operatorname{clip}\Big(\frac{\max(\pm k w, 0) - L_p}{f_p},
        0, g_\max - g_\min\Big) + g_\min

    with :math:`L_p = (g_\max - g_\min) \sum_{q < p} f_q`: the least significant pair fills first.

    Args:
        weight: Normalised weights of the whole tile, any shape, dimensionless.
        g_max_us: Largest conductance of a device in microsiemens.
        g_min_us: Conductance that stands for zero, in microsiemens.
        factors: Significance of each pair, least significant first; ``(1.0,)`` is one pair.

    Returns:
        List ``[g_plus, g_minus]`` per pair, least significant first, each in microsiemens with
        the shape of ``weight``; and the scale ``k`` in microsiemens per unit weight, a scalar.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/converter/conductance.py``.

    Example:
        >>> import torch
        >>> g, scale = weights_to_pairs(torch.tensor([0.5, -1.0]), g_max_us=25.0)
        >>> g
        [tensor([12.5000,  0.0000]), tensor([ 0., 25.])]
        >>> scale
        tensor(25.)
    """
    span_us = g_max_us - g_min_us
    scale = sum(factors) * span_us / weight.abs().max().clamp(min=SMALLEST_MAXIMUM)
    weight_us = weight * scale
    conductances = []
    lower_us = 0.0
    for factor in factors:
        for side_us in (weight_us, -weight_us):
            part_us = side_us if lower_us == 0.0 else side_us - lower_us
            part_us = part_us if factor == 1.0 else part_us / factor
            g_us = part_us.clamp(min=0.0, max=span_us)
            conductances.append(g_us if g_min_us == 0.0 else g_us + g_min_us)
        lower_us += factor * span_us
    return conductances, scale


def weights_to_shaped_pair(
    weight: Tensor, curve: Sequence[float], g_max_us: float
) -> tuple[list[Tensor], Tensor]:
    r"""Return the conductances of one pair whose targets follow a curve of the weight.

    .. math:: g^\pm = g_\max \, c\big(\max(\pm w, 0) / \max |w|\big),
        \qquad k = g_\max / \max |w|

    Args:
        weight: Normalised weights of the whole tile, any shape, dimensionless.
        curve: ``c`` at evenly spaced arguments from 0 to 1, linear between them, at least 2 values
            from 0 to 1, the first of them 0.
        g_max_us: Largest conductance of a device in microsiemens.

    Returns:
        ``[g_plus, g_minus]`` in microsiemens, each with the shape of ``weight``; and the scale
        ``k`` in microsiemens per unit weight, a scalar.

    Example:
        >>> import torch
        >>> weights_to_shaped_pair(torch.tensor([0.5, -1.0]), (0.0, 0.52, 1.0), g_max_us=25.0)[0]
        [tensor([13.,  0.]), tensor([ 0., 25.])]
    """
    largest = weight.abs().max().clamp(min=SMALLEST_MAXIMUM)
    values = torch.tensor(curve, dtype=weight.dtype, device=weight.device) * g_max_us
    points = torch.linspace(0.0, 1.0, len(values), dtype=weight.dtype, device=weight.device)
    relative = weight / largest
    sides = [interpolate_table(side, points, values) for side in (relative, -relative)]
    return sides, g_max_us / largest


def pairs_to_weights(
    conductances_us: Sequence[Tensor], scale: Tensor, factors: Sequence[float] = (1.0,)
) -> Tensor:
    r"""Return the weights that device pairs represent.

    .. math:: w = \frac{1}{k} \sum_p f_p \, (g^+_p - g^-_p)

    Args:
        conductances_us: ``[g_plus, g_minus]`` per pair, least significant first, in microsiemens,
            all of one shape.
        scale: ``k`` in microsiemens per unit weight, as ``weights_to_pairs`` returned it.
        factors: Significance of each pair, least significant first.

    Returns:
        Weights, same shape, dimensionless.

    Raises:
        ValueError: If the number of conductances is not twice the number of factors.

    Source:
        As ``weights_to_pairs``.

    Example:
        >>> import torch
        >>> pairs_to_weights([torch.tensor([12.5]), torch.tensor([0.0])], torch.tensor(25.0))
        tensor([0.5000])
    """
    if len(conductances_us) != 2 * len(factors):
        raise ValueError(
            f"{len(conductances_us)} conductances were given for {len(factors)} pairs, but each "
            "pair needs two (g_plus, g_minus)."
        )
    weight_us = None
    for index, factor in enumerate(factors):
        difference_us = conductances_us[2 * index] - conductances_us[2 * index + 1]
        part_us = difference_us if factor == 1.0 else factor * difference_us
        weight_us = part_us if weight_us is None else weight_us + part_us
    assert weight_us is not None
    return weight_us / scale


def weights_to_table(
    weight: Tensor, tables_us: Sequence[Sequence[float]], factors: Sequence[float] = (1.0,)
) -> tuple[list[Tensor], Tensor]:
    r"""Return conductances read from user tables over the weight range.

    The tables are given at evenly spaced weights from ``-max|w|`` to ``+max|w|`` and interpolated
    linearly. The scale is the largest combined conductance over the largest weight,

    .. math:: k = \max_m \Big| \sum_p f_p \, (g^+_{pm} - g^-_{pm}) \Big| \Big/ \max |w|.

    Args:
        weight: Normalised weights of the whole tile, any shape, dimensionless.
        tables_us: For each pair a table of ``g_plus`` and one of ``g_minus``, in microsiemens,
            least significant pair first; all of the same length, at least 2.
        factors: Significance of each pair, least significant first.

    Returns:
        List of conductances in microsiemens in the order of ``tables_us``, each with the shape of
        ``weight``; and the scale ``k`` in microsiemens per unit weight, a scalar.

    Raises:
        ValueError: If the number or the lengths of the tables do not fit.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/converter/conductance.py``, custom pair.

    Example:
        >>> import torch
        >>> g, scale = weights_to_table(torch.tensor([0.5, -1.0]), [[0, 0, 25], [25, 0, 0]])
        >>> g
        [tensor([12.5000,  0.0000]), tensor([ 0., 25.])]
    """
    combined_us = combined_table(tables_us, factors)
    largest = weight.abs().max().clamp(min=SMALLEST_MAXIMUM)
    scale = max(abs(value) for value in combined_us) / largest
    points = torch.linspace(-1.0, 1.0, len(combined_us), dtype=weight.dtype, device=weight.device)
    position = weight / largest
    conductances = []
    for table_us in tables_us:
        values = torch.tensor(table_us, dtype=weight.dtype, device=weight.device)
        conductances.append(interpolate_table(position, points, values))
    return conductances, scale


def combined_table(
    tables_us: Sequence[Sequence[float]], factors: Sequence[float] = (1.0,)
) -> list[float]:
    """Return the signed conductance that tables of pairs add up to at each table position.

    Args:
        tables_us: Tables of ``g_plus`` and ``g_minus`` per pair, in microsiemens, equally long.
        factors: Significance of each pair.

    Returns:
        Combined conductance in microsiemens, one number per table position.

    Raises:
        ValueError: If the number or the lengths of the tables do not fit.

    Example:
        >>> combined_table([[0, 0, 25], [25, 0, 0]])
        [-25.0, 0.0, 25.0]
    """
    if len(tables_us) != 2 * len(factors):
        raise ValueError(
            f"{len(tables_us)} tables were given for {len(factors)} factors, but each factor "
            "needs two tables (g_plus, g_minus)."
        )
    lengths = sorted({len(table) for table in tables_us})
    if len(lengths) != 1 or lengths[0] < 2:
        raise ValueError(
            f"the tables have lengths {lengths}, but all need the same length, at least 2."
        )
    return [
        float(
            sum(
                factor * (tables_us[2 * p][m] - tables_us[2 * p + 1][m])
                for p, factor in enumerate(factors)
            )
        )
        for m in range(lengths[0])
    ]


def weights_to_single(weight: Tensor, g_max_us: float, g_min_us: float) -> tuple[Tensor, Tensor]:
    r"""Return the conductances of one bidirectional device per weight.

    .. math:: k = \frac{g_\max - g_\min}{\max w - \min w}, \qquad g = k (w - \min w) + g_\min

    Args:
        weight: Normalised weights of the whole tile, any shape, dimensionless.
        g_max_us: Conductance of the largest weight, in microsiemens.
        g_min_us: Conductance of the smallest weight, in microsiemens.

    Returns:
        Conductances in microsiemens with the shape of ``weight``; and a tensor of shape ``(2,)``
        with ``k`` (microsiemens per unit weight) and the smallest weight.

    Source:
        IBM/aihwkit, ``src/aihwkit/inference/converter/conductance.py``, single device. A matrix of
        equal weights gets ``g_min_us`` everywhere there would otherwise be a division by zero.

    Example:
        >>> import torch
        >>> g, scale = weights_to_single(torch.tensor([-1.0, 0.0, 1.0]), 88.2, 9.0)
        >>> g
        tensor([ 9.0000, 48.6000, 88.2000])
    """
    smallest = weight.min()
    k = (g_max_us - g_min_us) / (weight.max() - smallest).clamp(min=SMALLEST_MAXIMUM)
    return (weight - smallest) * k + g_min_us, torch.stack([k, smallest])


def single_to_weights(conductance_us: Tensor, scale: Tensor, g_min_us: float) -> Tensor:
    r"""Return the weights that single devices represent.

    .. math:: w = (g - g_\min) / k + \min w

    Args:
        conductance_us: Conductances in microsiemens, any shape.
        scale: Shape ``(2,)``: ``k`` and the smallest weight, from ``weights_to_single``.
        g_min_us: Conductance of the smallest weight, in microsiemens.

    Returns:
        Weights, same shape, dimensionless.

    Source:
        As ``weights_to_single``.

    Example:
        >>> import torch
        >>> single_to_weights(torch.tensor([48.6]), torch.tensor([39.6, -1.0]), 9.0).abs() < 1e-6
        tensor([True])
    """
    return (conductance_us - g_min_us) / scale[0] + scale[1]

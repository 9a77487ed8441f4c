"""Distortions of the analog output of a column, used in sensitivity studies."""

from torch import Tensor


def s_shape(z: Tensor, steepness: Tensor, slope: Tensor | float = 1.0) -> Tensor:
    r"""Return the S-shaped output nonlinearity ``k z / (1 + |n_i z|)``.

    Args:
        z: Analog output, any shape, dimensionless.
        steepness: n_i per output, broadcastable to ``z``.
        slope: Slope calibration k, see :func:`calibrated_slope`.

    Returns:
        Distorted output, same shape.

    Source:
        IBM/aihwkit, ``rpucuda/rpu_forward_backward_pass.cpp``.

    Example:
        >>> import torch
        >>> s_shape(torch.tensor([1.0]), torch.tensor([1.0]))
        tensor([0.5000])
    """
    return slope * z / (1 + (steepness * z).abs())


def calibrated_slope(
    steepness: Tensor, r_series: float, slope_calibration: float, out_bound: float
) -> Tensor:
    r"""Return the slope k that undoes part of the compression.

    .. math:: k = (1 + (\overline{|n_i|} + r_s)\, s_\text{cal}\, b_\text{out})^2

    Args:
        steepness: n_i per output, shape ``(out,)``.
        r_series: Series resistance r_s, dimensionless.
        slope_calibration: Share of the bound at which the slope is calibrated; 0 gives k = 1.
        out_bound: Output bound, dimensionless.

    Returns:
        Scalar tensor.

    Source:
        IBM/aihwkit, ``rpucuda/rpu_forward_backward_pass.cpp``.

    Example:
        >>> import torch
        >>> calibrated_slope(torch.tensor([0.1]), 0.0, 1.0, 10.0)
        tensor(4.)
    """
    return (1 + (steepness.abs().mean() + r_series) * slope_calibration * out_bound) ** 2


def offset_and_series_resistance(
    z: Tensor, input_sum: Tensor, v_offset: Tensor | float, r_series: float, w_min: float
) -> Tensor:
    r"""Return the output after voltage offset and series resistance.

    With :math:`y_r = -w_\min \sum_j x_j`:

    .. math::
        z \to \frac{(1 - v_i)(z + y_r)}{1 + r_s |z + y_r|} - \frac{(1 + v_i)\, y_r}{1 + r_s |y_r|}

    Args:
        z: Analog output, shape ``(..., out)`` or ``(batch, out, *space)``, dimensionless.
        input_sum: Sum of the quantised inputs of each vector, broadcastable to ``z``.
        v_offset: Offset v_i per output, not negative, broadcastable to ``z``.
        r_series: Series resistance r_s, dimensionless.
        w_min: Weight of the reference device (-1: a full reference column; 0: none).

    Returns:
        Disturbed output, same shape as ``z``.

    Source:
        IBM/aihwkit, ``rpucuda/rpu_forward_backward_pass.cpp``.

    Example:
        >>> import torch
        >>> offset_and_series_resistance(torch.tensor([1.0]), torch.tensor([0.0]), 0.0, 1.0, -1.0)
        tensor([0.5000])
    """
    reference = -w_min * input_sum
    raised = z + reference
    return (1 - v_offset) * raised / (1 + r_series * raised.abs()) - (1 + v_offset) * reference / (
        1 + r_series * reference.abs()
    )


def asymmetric_(values: Tensor, asymmetry: float) -> Tensor:
    """Multiply negative values by ``1 - asymmetry``, in place.

    Args:
        values: Any shape; overwritten.
        asymmetry: Relative loss of the negative side, 0 to 1.

    Returns:
        ``values``.

    Source:
        IBM/aihwkit, ``rpucuda/rpu_forward_backward_pass.cpp``.

    Example:
        >>> import torch
        >>> asymmetric_(torch.tensor([1.0, -1.0]), 0.5)
        tensor([ 1.0000, -0.5000])
    """
    return values.mul_(1 - asymmetry * (values.detach() < 0).to(values.dtype))

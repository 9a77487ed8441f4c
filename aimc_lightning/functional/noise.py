"""Training weight noise and the spread of short-term read noise."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from aimc_lightning.functional.random import standard_normal_like

WeightNoiseType = Literal[
    "none", "pcm", "additive", "multiplicative", "discretize", "discretize_additive", "dorefa",
    "polynomial", "programming"
]  # fmt: skip
ReadNoiseType = Literal["pcm", "constant"]

#: Programming noise of PCM in microsiemens, c0 + c1 r + c2 r**2 with r = g / g_max.
#: Source: IBM/aihwkit, ``src/aihwkit/inference/noise/pcm.py``.
PCM_COEFFICIENTS_US = (0.26348, 1.9650, -1.1731)
#: Largest conductance, microsiemens, that the coefficients refer to.
G_MAX_US = 25.0  # the polynomial was fitted for this range and is not rescaled
_T_READ_S = 250e-9
_T_0_S = 20.0


class NoiseLaw(NamedTuple):
    """Arguments of :func:`noisy_weight`, with the names they have there."""

    kind: WeightNoiseType = "none"
    std: float = 0.0
    w_max: float = 1.0
    coefficients: Sequence[float] = PCM_COEFFICIENTS_US
    t_inference_s: float = 0.0

    def numbers(self) -> tuple[float, float, float, float]:
        """Return the factor and c0, c1, c2 of a spread ``factor (c0 + c1 r + c2 r**2)``.

        Example:
            >>> NoiseLaw("additive", 0.5).numbers()
            (0.5, 1.0, 0.0, 0.0)
        """
        if self.kind == "additive":
            return self.std * self.w_max, 1.0, 0.0, 0.0
        c0, c1, c2 = (*map(float, self.coefficients), 0.0, 0.0)[:3]
        in_us = self.kind in ("programming", "pcm")
        return self.std / G_MAX_US if in_us else self.std * self.w_max, c0, c1, c2


def polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return ``c0 + c1 x + c2 x**2 + ...``, shape of ``x``.

    Example:
        >>> import torch
        >>> polynomial([1.0, 2.0], torch.tensor([3.0]))
        tensor([7.])
    """
    result = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result.mul_(x).add_(coefficient)
    return result


def noisy_weight(
    weight: Tensor,
    kind: WeightNoiseType,
    std: float,
    *,
    w_max: Tensor | float = 1.0,
    coefficients: Sequence[float] = PCM_COEFFICIENTS_US,
    resolution: float = 0.0,
    t_inference_s: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return weights as disturbed in one forward pass of hardware-aware training.

    With m = ``w_max`` and standard normal xi:

    * ``additive``: ``w + std m xi``; ``multiplicative``: ``w (1 + std m xi)``
    * ``discretize``: ``m res round(w / (m res))``, half away from zero; ``discretize_additive``:
      that, then additive noise; ``dorefa``: ``res round(0.6 tanh(w) / (tanh(m) res))``
    * ``polynomial``: ``w + m std (c0 + c1 r + c2 r^2) xi`` with ``r = |w| / m``;
      ``programming``: the same over ``g_max`` = 25 uS, reflected so that the sign is kept
    * ``pcm``: programming noise, then the spread of drift and the accumulated 1/f noise at
      ``t_inference_s``, all scaled by ``std`` (see :func:`pcm_weight_noise`)

    Args:
        weight: Normalised weights, any shape, dimensionless.
        kind: Type of noise.
        std: Standard deviation or scale of the noise, dimensionless.
        w_max: Largest magnitude of the tile, dimensionless.
        coefficients: Polynomial of the standard deviation, in uS for ``programming`` and ``pcm``.
        resolution: Step relative to ``w_max`` for the discretising types.
        t_inference_s: Seconds after programming for ``pcm``; 0 means programming noise alone.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        A new tensor of the same shape, or ``weight`` itself for ``none``.

    Raises:
        ValueError: If ``kind`` is unknown.

    Source:
        IBM/aihwkit, ``rpucuda/weight_modifier.cpp`` and ``rpucuda/cuda/weight_modifier_cuda.cu``.

    Example:
        >>> import torch
        >>> noisy_weight(torch.tensor([0.26, -0.26]), "discretize", 0.0, resolution=0.5)
        tensor([ 0.5000, -0.5000])
    """
    if kind == "none":
        return weight
    if kind in ("discretize", "discretize_additive"):
        step = w_max * resolution
        rounded = _round_half_away(weight / step) * step
        if kind == "discretize":
            return rounded
        weight = rounded
    if kind == "dorefa":
        limit = math.tanh(w_max) if isinstance(w_max, int | float) else torch.tanh(w_max)
        return _round_half_away(torch.tanh(weight) * (0.6 / limit) / resolution) * resolution
    xi = standard_normal_like(weight, generator=generator)
    if kind in ("additive", "discretize_additive"):
        return weight + xi.mul_(std * w_max)
    if kind == "multiplicative":
        return weight * (1 + xi.mul_(std * w_max))
    if kind == "pcm":
        return pcm_weight_noise(
            weight, std, xi, w_max=w_max, t_inference_s=t_inference_s,
            coefficients=coefficients, generator=generator,
        )  # fmt: skip
    spread = polynomial(coefficients, weight.abs() / w_max).mul_(std * w_max)
    if kind == "polynomial":
        return weight + spread.mul_(xi)
    if kind == "programming":
        noisy = (weight.abs() + spread.mul_(xi).div_(G_MAX_US)).abs()
        return torch.where(weight < 0, -noisy, noisy)
    known = ", ".join(get_args(WeightNoiseType))
    raise ValueError(f"Unknown weight noise type {kind!r}; it must be one of {known}.")


def _round_half_away(x: Tensor) -> Tensor:
    return x.sign() * (x.abs() + 0.5).floor()


def pcm_weight_noise(
    weight: Tensor,
    scale: float,
    xi: Tensor,
    *,
    w_max: Tensor | float = 1.0,
    t_inference_s: float = 0.0,
    coefficients: Sequence[float] = PCM_COEFFICIENTS_US,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return weights with PCM-like noise, one signed conductance per weight.

    .. math::
        g_p = g + S (c_0 + c_1 r + c_2 r^2) \xi, \quad
        g_d = g_p (t / t_0)^{-|\sigma_\nu \xi'|}, \quad
        g_f = g_d + S |g_d| Q \sqrt{\ln((t + t_r) / 2 t_r)}\, \xi''

    and the result is ``sign(w) |g_f|``: noise is reflected at zero, a zero weight stays zero.

    Args:
        weight: Normalised weights, any shape, dimensionless.
        scale: S, multiple of the standard noise, on programming and 1/f noise.
        xi: Standard normal numbers for the programming noise, same shape; overwritten.
        w_max: Weight that is mapped to g_max, dimensionless.
        t_inference_s: Seconds after programming; at 0 neither drift nor 1/f noise act.
        coefficients: c0, c1, c2 in uS for g_max = 25 uS.
        generator: Random numbers of drift and 1/f noise; torch's own if ``None``.

    Returns:
        A new tensor of the same shape.

    Source:
        IBM/aihwkit, ``rpucuda/cuda/weight_modifier_cuda.cu``, ``kernelModifyWeightsPCMNoise``
        without its faults and zero threshold. The mean drift is left out there, too.

    Example:
        >>> import torch
        >>> w = torch.tensor([0.0, 0.5, -0.5])
        >>> pcm_weight_noise(w, 0.0, torch.ones(3))
        tensor([ 0.0000,  0.5000, -0.5000])
    """
    magnitude = (weight.abs() / w_max).clamp_(max=1.0)
    g = polynomial(coefficients, magnitude).mul_(scale / G_MAX_US).mul_(xi).add_(magnitude)
    if t_inference_s > 0:
        time_s = t_inference_s + _T_0_S
        ratio = g.abs().clamp_(min=1e-7)
        nu_std = (-0.0125 * ratio.log() - 0.0059).clamp_(0.008, 0.045)
        nu = (nu_std * standard_normal_like(g, generator=generator)).abs_()
        g = g * (time_s / _T_0_S) ** (-nu)
        q = (0.0088 / ratio.pow(0.65).clamp_(min=1e-3)).clamp_(max=0.2)
        growth = math.sqrt(math.log((time_s + _T_READ_S) / (2 * _T_READ_S)))
        g = g + g.abs() * q * standard_normal_like(g, generator=generator) * (scale * growth)
    return weight.sign() * g.abs_() * w_max


def drop_connect(
    weight: Tensor, probability: float, *, generator: torch.Generator | None = None
) -> Tensor:
    """Return weights of which each was set to zero with a probability.

    Args:
        weight: Weights, any shape.
        probability: Chance that a weight is dropped, 0 to 1; 0 returns ``weight`` itself.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Weights of the same shape; the survivors are not rescaled.

    Source:
        IBM/aihwkit, ``rpucuda/weight_modifier.cpp`` (``pdrop``).

    Example:
        >>> import torch
        >>> drop_connect(torch.ones(2), 1.0)
        tensor([0., 0.])
    """
    if probability <= 0:
        return weight
    keep = torch.empty_like(weight).bernoulli_(1 - probability, generator=generator)
    return keep.mul_(weight)


def read_noise_variance(product_of_squares: Tensor, read_noise_std: float) -> Tensor:
    r"""Turn a sum of squares into the variance of short-term read noise, in place.

    ``sum_j |w_ij| x_j**2`` gives noise of type "pcm" (each weight has noise ``std sqrt(|w|)``), and
    ``sum_j x_j**2`` noise of type "constant" (each weight has noise ``std``).

    Args:
        product_of_squares: The sum, any shape, dimensionless; overwritten.
        read_noise_std: Standard deviation for a full weight, dimensionless.

    Returns:
        Variance of the noise at the output, same shape.

    Source:
        IBM/aihwkit, ``rpucuda/rpu_forward_backward_pass.cpp``, ``applyOutputWeightNoise``.

    Example:
        >>> import torch
        >>> read_noise_variance(torch.tensor([4.0]), 0.5)
        tensor([1.])
    """
    return product_of_squares.mul_(read_noise_std**2)

"""One product on one tile in float64 NumPy, written from the specification of the hardware model.

Letters are those of the specification: w normalised weights (outputs, inputs), x inputs (samples,
inputs), z analog outputs (samples, outputs), c input range, s mapping scale, gamma learned scale.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def quantize(v: Array, steps: int | None, bound: float) -> Array:
    """Section e: round half to even, then clip."""
    if steps is None:
        return np.asarray(v, np.float64)
    d = 2 * bound / steps
    return np.clip(d * np.rint(np.asarray(v, np.float64) / d), -bound, bound)


def ir_drop(w: Array, x_hat: Array, scale: float = 1.0, ratio: float = 571428.57) -> Array:
    """Section a.4: what is subtracted from the ideal product."""
    n = w.shape[1]
    current = np.abs(x_hat) @ np.abs(w).T
    a = n / ratio * current
    c = 0.05 * a**3 - 0.2 * a**2 + 0.5 * a
    position = 1 - (1 - np.arange(n) / n) ** 2
    return scale * c * ((x_hat * position) @ w.T)


def read_noise_std(w: Array, x_hat: Array, std: float, kind: str) -> Array:
    """Section a.3: standard deviation at the output."""
    if kind == "pcm":
        return std * np.sqrt((x_hat**2) @ np.abs(w).T)
    return np.broadcast_to(
        std * np.linalg.norm(x_hat, axis=-1, keepdims=True), (*x_hat.shape[:-1], len(w))
    )


def s_shape(z: Array, steepness: Array, slope: float) -> Array:
    """Section a.6."""
    return slope * z / (1 + np.abs(steepness * z))


def calibrated_slope(steepness: Array, r_series: float, calibration: float, bound: float) -> float:
    """Section a.6."""
    return float((1 + (np.mean(np.abs(steepness)) + r_series) * calibration * bound) ** 2)


def offset(z: Array, x_hat: Array, v: Array, r_series: float, w_min: float) -> Array:
    """Section a.6, voltage offset and series resistance."""
    y_ref = -w_min * x_hat.sum(-1, keepdims=True)
    first = (1 - v) * (z + y_ref) / (1 + r_series * np.abs(z + y_ref))
    return first - (1 + v) * y_ref / (1 + r_series * np.abs(y_ref))


def asymmetric(v: Array, asymmetry: float) -> Array:
    """Section a.6."""
    return np.where(v < 0, (1 - asymmetry) * v, v)


def chain(
    w: Array,
    x: Array,
    *,
    dac_steps: int | None = None,
    input_asymmetry: float = 0.0,
    ir_drop_scale: float = 0.0,
    ratio: float = 571428.57,
    v_offset: Array | None = None,
    w_min: float = -1.0,
    r_series: float = 0.0,
    steepness: Array | None = None,
    slope: float = 1.0,
    output_asymmetry: float = 0.0,
    adc_steps: int | None = None,
    out_bound: float | None = None,
    clip: bool = True,
) -> Array:
    """Section a.1 without noise: relative inputs x / c to outputs a of the ADC."""
    x_hat = np.clip(x, -1, 1) if clip else x
    x_hat = asymmetric(quantize(x_hat, dac_steps, 1.0), input_asymmetry)
    z = x_hat @ w.T
    if ir_drop_scale > 0:
        z = z - ir_drop(w, x_hat, ir_drop_scale, ratio)
    if v_offset is not None or r_series > 0:
        z = offset(z, x_hat, np.zeros(len(w)) if v_offset is None else v_offset, r_series, w_min)
    if steepness is not None:
        z = s_shape(z, steepness, slope)
    z = asymmetric(z, output_asymmetry)
    if adc_steps is not None:
        assert out_bound is not None
        return quantize(z, adc_steps, out_bound)
    return z if out_bound is None else np.clip(z, -out_bound, out_bound)


def updated_range(c: float, i: int, x: Array, alpha: float) -> tuple[float, int]:
    """Section d.4, initialisation."""
    std = float(np.std(np.asarray(x, np.float64), ddof=1))
    return (c, i) if std == 0 else ((c * i + alpha * std) / (i + 1), i + 1)


def range_gradient(
    c: float, x: Array, dx: Array, decay: float = 0.0, min_percentage: float = 0.95
) -> float:
    """Section d.4, rule by which the range is learned."""
    high, low = np.minimum(dx, 0)[x >= c].sum(), np.maximum(dx, 0)[x <= -c].sum()
    gradient = c * (high - low)
    if (np.abs(x) < c).mean() > min_percentage:
        gradient += decay * c
    return float(gradient)


def gradients(
    w: Array, x: Array, dy: Array, c: float, s: Array, gamma: Array, *,
    dac_steps: int | None, adc_steps: int | None, out_bound: float | None,
) -> dict[str, Array | float]:  # fmt: skip
    """Section d.1, d.4, d.5: straight-through converters, zero where clipped."""
    x_hat = quantize(np.clip(x / c, -1, 1), dac_steps, 1.0)
    z = x_hat @ w.T
    a = z
    if adc_steps is not None:
        assert out_bound is not None
        a = quantize(z, adc_steps, out_bound)
    elif out_bound is not None:
        a = np.clip(z, -out_bound, out_bound)
    d_gamma = (dy * s * c * a).sum(0)
    inside = np.ones_like(a) if out_bound is None else (np.abs(a) < out_bound * (1 - 1e-12))
    dz = dy * gamma * inside
    dx_clipped = (dz * s) @ w
    return {
        "y": gamma * s * c * a,
        "x": np.where(np.abs(x) < c, dx_clipped, 0.0),
        "weight": dz.T @ (c * x_hat),
        "gamma": d_gamma,
        "range": range_gradient(c, x, dx_clipped),
    }


def noise_management_factor(
    x: Array, kind: str, threshold: float, bound: float | None, dac_steps: int | None
) -> Array:
    """Section a.7; the NP sum keeps at least one DAC step for the largest input."""
    largest = np.abs(x).max(-1, keepdims=True)
    if kind == "none":
        factor = np.ones_like(largest)
    elif kind == "abs_max":
        factor = np.minimum(largest, threshold) if threshold > 0 else largest
    elif kind == "max":
        factor = x.max(-1, keepdims=True)
    elif kind == "constant":
        factor = np.full_like(largest, threshold)
    else:
        assert bound is not None
        needed = np_sum_factor(x, bound)
        if dac_steps is not None:
            needed = np.minimum(needed, largest * dac_steps / 2)
        factor = np.maximum(largest, needed)
    return np.where(factor > 0, factor, 1.0)


def np_sum_factor(x: Array, bound: float) -> Array:
    """Section a.7."""
    positive = np.maximum(x, 0).sum(-1, keepdims=True)
    negative = np.maximum(-x, 0).sum(-1, keepdims=True)
    return np.maximum(positive, negative) * 0.6 / bound


def split_sizes(size: int, limit: int) -> list[int]:
    """Section c.1: nearly equal parts, the first one larger."""
    if limit == 0:
        return [size]
    parts = math.ceil(size / limit)
    return [size // parts + (i < size % parts) for i in range(parts)]


def sigma_prog_us(r: Array) -> Array:
    """Section b.2 for g_max = 25 uS."""
    return 0.26348 + 1.9650 * r - 1.1731 * r**2


def pcm_modifier(
    w: Array, scale: float, t_inference_s: float, w_max: float, rng: np.random.Generator
) -> Array:
    """Section d.2, PCM noise modifier without faults and threshold."""
    g = np.clip(w, -w_max, w_max) * 25.0 / w_max
    r = np.abs(g) / 25.0
    gp = g + scale * sigma_prog_us(r) * rng.standard_normal(w.shape)
    gf = gp
    if t_inference_s > 0:
        t = t_inference_s + 20.0
        rp = np.maximum(np.abs(gp) / 25.0, 1e-7)
        sigma_nu = np.clip(-0.0125 * np.log(rp) - 0.0059, 0.008, 0.045)
        gd = gp * (t / 20.0) ** (-np.abs(sigma_nu * rng.standard_normal(w.shape)))
        rd = np.maximum(np.abs(gp) / 25.0, 1e-7)
        q = np.minimum(0.0088 / np.maximum(rd**0.65, 1e-3), 0.2)
        growth = math.sqrt(math.log((t + 250e-9) / (2 * 250e-9)))
        gf = gd + scale * np.abs(gd) * q * growth * rng.standard_normal(w.shape)
    return np.sign(w) * np.abs(gf) * w_max / 25.0


def convolution(
    x: Array, w: Array, stride: tuple[int, int], padding: tuple[int, int],
    dilation: tuple[int, int], groups: int,
) -> Array:  # fmt: skip
    """Plain two-dimensional convolution (samples, channels, height, width), zero padding."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    out, per_group, kh, kw = w.shape
    rows = (x.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    columns = (x.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((len(x), out, rows, columns))
    for o in range(out):
        first = o // (out // groups) * per_group
        for i, j in np.ndindex(rows, columns):
            patch = x[
                :, first : first + per_group,
                i * stride[0] : i * stride[0] + dilation[0] * (kh - 1) + 1 : dilation[0],
                j * stride[1] : j * stride[1] + dilation[1] * (kw - 1) + 1 : dilation[1],
            ]  # fmt: skip
            y[:, o, i, j] = (patch * w[o]).sum((1, 2, 3))
    return y

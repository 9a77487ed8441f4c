"""Families of one crossbar: converters, IR drop, distortions, noise, input range, weight noise."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.forward_config import (
    ADCConfig,
    DACConfig,
    DistortionConfig,
    ForwardNoiseConfig,
    InputRangeConfig,
    IRDropConfig,
)
from aimc_lightning.functional.crossbar import crossbar_codes, crossbar_weights
from aimc_lightning.functional.mvm import PreparedTile, analog_mvm
from aimc_lightning.functional.noise import WeightNoiseType, drop_connect, noisy_weight
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.functional.quantize import quantize_uniform, quantizer_steps
from aimc_lightning.presets import get_preset
from aimc_lightning.tiles.periphery import build_periphery
from aimc_lightning.tiles.tile import AnalogTile
from tests.golden.compare import (
    OWN_DRAWS,
    Check,
    Moments,
    converted,
    exact,
)
from tests.golden.vector import UnknownSetting, Vector

_READ_NOISE = {"PCM_READ": "pcm", "ADDITIVE_CONSTANT": "constant", "NONE": None}
_MODIFIERS: dict[str, WeightNoiseType] = {
    "ADD_NORMAL": "additive",
    "MULT_NORMAL": "multiplicative",
    "DISCRETIZE": "discretize",
    "DISCRETIZE_ADD_NORMAL": "discretize_additive",
    "DOREFA": "dorefa",
    "POLY": "polynomial",
    "PROG_NOISE": "programming",
    "DROP_CONNECT": "none",
    "NONE": "none",
}


def input_quant(vector: Vector) -> Iterator[Check]:
    """DAC."""
    vector.expect("tie_rule", "half-to-even")
    steps, bound = _steps(vector), vector.number("bound")
    ours = quantize_uniform(vector.tensor("x"), steps, bound)
    yield converted("x_q", ours, vector.array("x_q"), 2 * bound / steps)


def output_quant(vector: Vector) -> Iterator[Check]:
    """ADC."""
    vector.expect("tie_rule", "half-to-even")
    steps, bound = _steps(vector), vector.number("out_bound")
    ours = quantize_uniform(vector.tensor("y"), steps, bound)
    yield converted("y_q", ours, vector.array("y_q"), 2 * bound / steps)


def irdrop(vector: Vector) -> Iterator[Check]:
    """Product with IR drop alone."""
    vector.expect("dtype", "float32")
    _check_sizes(vector, "w")
    ratio = vector.number("ir_drop_g_ratio")
    unit_us = IRDropConfig().g_unit_us
    drop = IRDropConfig(vector.number("ir_drop"), 1e6 / (ratio * unit_us), unit_us)
    config = get_preset("ideal").with_values({"ir_drop": drop})
    yield from _products(vector, config, "y_irdrop")


def nonlin(vector: Vector) -> Iterator[Check]:
    """S-shaped nonlinearity and series resistance."""
    for spread in ("out_nonlinearity_std", "v_offset_std"):
        vector.expect(spread, 0.0)
    distortion = DistortionConfig(
        out_nonlinearity=vector.number("out_nonlinearity"),
        r_series=vector.number("r_series"),
        slope_calibration=vector.number("slope_calibration"),
        v_offset_w_min=vector.number("v_offset_w_min"),
    )
    adc = ADCConfig(bits=None, bound=vector.number("out_bound"))
    config = get_preset("ideal").with_values({"adc": adc, "distortion": distortion})
    yield from _products(vector, config, "y")


def mvm_noise(vector: Vector) -> Iterator[Check]:
    """Short-term read noise and output noise of one product."""
    kind = vector.text("w_noise_type")
    if kind not in _READ_NOISE:
        raise UnknownSetting(f"w_noise_type is {kind!r}")
    read = _READ_NOISE[kind]
    noise = ForwardNoiseConfig(
        output_std=vector.number("out_noise"),
        read_std=vector.number("w_noise") if read else 0.0,
        read_type=read or "pcm",
    )
    if read is None:
        vector.number("w_noise")
    draws = vector.integer("repeats")
    config = get_preset("ideal").with_values({"noise": noise})
    x = vector.tensor("x").expand(max(draws, OWN_DRAWS), -1)
    y = _crossbar(x, vector.tensor("w"), config)
    moments = Moments.of(y.double().numpy())
    # The mean is settled by the exact product; the noise must not move it.
    yield moments.mean_check("y mean", vector.array("y_mean"), draws)
    yield moments.std_check("y std", vector.array("y_std"), draws)
    ideal = _crossbar(x[:1], vector.tensor("w"), get_preset("ideal"))[0]
    yield exact("y_ideal", ideal, vector.array("y_ideal"))


def input_range(vector: Vector) -> Iterator[Check]:
    """Initialisation of the input range from data, and all gradients of one batch."""
    vector.expect("gradient_relative", True)
    ranges = InputRangeConfig(
        initial=vector.number("init_value"),
        init_rule="std",
        init_batches=vector.integer("init_from_data"),
        init_std_alpha=vector.number("init_std_alpha"),
        decay=vector.number("decay"),
        min_percentage=vector.number("input_min_percentage"),
    )
    config = get_preset("ideal").with_values(
        {"input_range": ranges, "dac": DACConfig(bits=8), "adc": ADCConfig(bits=8, bound=10.0)}
    )
    weight = vector.tensor("w")
    yield exact("range_after", _ranges(vector, config, weight), vector.array("range_after"))
    yield from _range_gradients(vector, config, weight)


def _ranges(vector: Vector, config: TileConfig, weight: torch.Tensor) -> np.ndarray:
    tile = AnalogTile([len(weight)], config).train()
    ranges = []
    for batch in vector.tensor("x_batches"):
        tile(batch, weight, LinearProduct())
        ranges.append(tile.input_range.item())
    return np.array(ranges)


def _range_gradients(vector: Vector, config: TileConfig, weight: torch.Tensor) -> Iterator[Check]:
    periphery = build_periphery(config)
    start = torch.tensor(config.input_range.initial, requires_grad=True)
    x = vector.tensor("x").requires_grad_()
    w = weight.clone().requires_grad_()
    one = torch.ones(1)
    prepared = PreparedTile(crossbar_weights(weight, periphery), one, periphery)
    y = analog_mvm(x, w, start, one, prepared, LinearProduct())
    dy = vector.tensor("dy")
    y.backward(dy)
    assert x.grad is not None
    assert w.grad is not None
    assert start.grad is not None
    c = float(start.detach())
    yield converted("y", y, vector.array("y"), c * periphery.adc_step)
    yield exact("grad_x", x.grad, vector.array("grad_x"))
    yield exact("grad_w", w.grad, vector.array("grad_w"))
    scale = float(vector.number("gradient_scale")) * float(start.grad)
    term = _differentiation_term(x.detach(), dy, y.detach(), weight, c)
    # Two sums of rounding errors cancel in that term, hence relative to the sums and not to it.
    golden = vector.array("grad_range").reshape(())
    size = max(abs(golden), float((dy * y.detach()).abs().sum()) / c)
    yield Check("grad_range", abs(scale + term - float(golden)) / size, 1e-6)


def _differentiation_term(
    x: torch.Tensor, dy: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, c: float
) -> float:
    """Return what the pure-torch tile of the reference adds and this library leaves out.

    The library follows the other tile of the reference, whose range gradient is the explicit rule
    alone; the golden numbers hold both.
    """
    clipped = x.double().clamp(-c, c)
    dx = dy.double() @ weight.double()
    return float((dy.double() * y.double()).sum() / c - (dx * clipped).sum() / c)


def weight_modifier(vector: Vector) -> Iterator[Check]:
    """Noise on the weights during training."""
    kind = vector.text("type")
    if kind not in _MODIFIERS:
        raise UnknownSetting(f"type is {kind!r}")
    vector.expect("dorefa_clip", 0.6)
    draws = vector.integer("samples")
    std = vector.number("std_dev", 0.0)
    if _MODIFIERS[kind] == "programming":
        std *= 25.0 / vector.number("g_max", 25.0)  # the library's polynomial refers to 25 uS
    options = {"coefficients": vector.numbers("coeffs")} if "coeffs" in vector else {}
    generator = torch.Generator().manual_seed(17)
    weight = vector.tensor("w").expand(max(draws, OWN_DRAWS), -1).clone()
    w_max = vector.number("assumed_wmax")
    if vector.flag("rel_to_actual_wmax", False):
        w_max = float(weight.abs().max())
    noisy = noisy_weight(
        weight,
        _MODIFIERS[kind],
        std,
        w_max=w_max,
        resolution=vector.number("res", 0.0),
        generator=generator,
        **options,
    )
    noisy = drop_connect(noisy, vector.number("pdrop", 0.0), generator=generator)
    moments = Moments.of(noisy.double().numpy())
    zeros = Moments.of((noisy == 0).double().numpy())
    yield moments.mean_check("w mean", vector.array("w_mean"), draws)
    yield moments.std_check("w std", vector.array("w_std"), draws)
    magnitude = Moments.of(noisy.abs().double().numpy())
    yield magnitude.mean_check("|w| mean", vector.array("w_abs_mean"), draws)
    yield zeros.mean_check("fraction zero", vector.array("fraction_zero"), draws)


def _steps(vector: Vector) -> int:
    steps = vector.integer("steps")
    if "bits" in vector and quantizer_steps(vector.integer("bits")) != steps:
        raise UnknownSetting(f"bits and steps disagree: {vector.integer('bits')}, {steps}")
    return steps


def _check_sizes(vector: Vector, key: str) -> None:
    sizes = (vector.integer("out_size"), vector.integer("in_size"))
    if vector.array(key).shape != sizes:
        raise UnknownSetting(f"{key} has shape {vector.array(key).shape}, the config says {sizes}")


def _crossbar(x: torch.Tensor, weight: torch.Tensor, config: TileConfig) -> torch.Tensor:
    """Return the analog output of normalised weights for inputs in units of the input range."""
    periphery = build_periphery(config)
    weights = crossbar_weights(weight, periphery)
    generator = torch.Generator().manual_seed(23)
    codes = crossbar_codes(x.clone(), weights, periphery, LinearProduct(), generator=generator)
    return codes * periphery.adc_step


def _products(vector: Vector, config: TileConfig, key: str) -> Iterator[Check]:
    x, weight = vector.tensor("x"), vector.tensor("w")
    yield exact("y_ideal", _crossbar(x, weight, get_preset("ideal")), vector.array("y_ideal"))
    yield exact(key, _crossbar(x, weight, config), vector.array(key))


SIGNAL_FAMILIES: dict[str, Callable[[Vector], Iterator[Check]]] = {
    "input_quant": input_quant,
    "output_quant": output_quant,
    "irdrop": irdrop,
    "nonlin": nonlin,
    "mvm_noise": mvm_noise,
    "input_range": input_range,
    "weight_modifier": weight_modifier,
}

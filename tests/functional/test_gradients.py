"""Which stage has a true gradient, which a rule of its own, and which none; nothing is left out."""

import inspect
from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor

from aimc_lightning.functional import (
    clipping,
    compensation,
    conductance,
    curves,
    drift,
    faults,
    ir_drop,
    noise,
    nonlinearity,
    programming,
    range_management,
)
from aimc_lightning.functional.quantize import quantize_uniform

MODULES = (
    "clipping", "compensation", "conductance", "crossbar", "curves", "drift", "faults",
    "input_range", "ir_drop", "managed", "mvm", "noise", "nonlinearity", "programming", "quantize",
    "random", "range_management",
)  # fmt: skip


def _z(*shape: int, low: float = -2.0, high: float = 2.0) -> Tensor:
    """Return distinct numbers away from 0 and from each other, where no stage has a kink."""
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(5))
    steps = (order.double() + 0.37) / count
    return (low + (high - low) * steps).reshape(shape).requires_grad_()


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _pairs(w: Tensor) -> Tensor:
    return torch.stack(conductance.weights_to_pairs(w, 25.0, 1.0, (1.0, 2.0))[0])


def _shaped(w: Tensor) -> Tensor:
    return torch.stack(conductance.weights_to_shaped_pair(w, (0.0, 0.6, 1.0), 25.0)[0])


def _table(w: Tensor) -> Tensor:
    up = torch.linspace(0, 25, 6).tolist()
    return torch.stack(conductance.weights_to_table(w, (up, up[::-1]))[0])


def _noisy(kind: noise.WeightNoiseType) -> Callable[[Tensor], Tensor]:
    return lambda w: noise.noisy_weight(
        w, kind, 0.1, w_max=2.0, t_inference_s=3600.0, generator=_seeded()
    )


W, POSITIVE = _z(3, 4), _z(8, low=0.5, high=20.0)

#: Gradient as autograd derives it from the formula; checked by finite differences in float64.
TRUE: dict[str, tuple[Callable[..., object], tuple[Tensor, ...]]] = {
    "accumulated 1/f strength": (
        lambda r: drift.power_law_noise_strength(r),
        (_z(6, low=0.1, high=1.0),),
    ),
    "add_conductance_noise": (
        lambda g: programming.add_conductance_noise(g, 0.2, generator=_seeded()),
        (POSITIVE,),
    ),
    "asymmetric_": (lambda z: nonlinearity.asymmetric_(z.clone(), 0.2), (W,)),
    "calibrated_slope": (
        lambda n: nonlinearity.calibrated_slope(n, 0.1, 0.5, 10.0),
        (_z(4, low=0.01, high=0.1),),
    ),
    "channel_max_clip_bound": (clipping.channel_max_clip_bound, (W,)),
    "clip_weights": (lambda w: clipping.clip_weights(w, 1.1), (W,)),
    "clipped_logarithm": (
        lambda x: curves.clipped_logarithm(x, -0.0155, 0.0244, 0.049, 0.1),
        (_z(6, low=0.01, high=0.9),),
    ),
    "compensation_factor": (
        compensation.compensation_factor,
        (_z(4, low=1.0, high=2.0), _z(4, low=0.5, high=1.0)),
    ),
    "compensation_readout": (lambda y: compensation.compensation_readout(y, per_column=True), (W,)),
    "conductance_after_drift": (
        lambda g, nu: drift.conductance_after_drift(g, nu, 3600.0),
        (POSITIVE, _z(8, low=0.02, high=0.1)),
    ),
    "draw_drift_exponents": (
        lambda m, s: drift.draw_drift_exponents(m, s, generator=_seeded()),
        (_z(6, low=0.05, high=0.1), _z(6, low=0.008, high=0.04)),
    ),
    "draw_stuck_devices": (
        lambda g: faults.draw_stuck_devices(g, 25.0, 0.2, 0.2, 0.2, generator=_seeded())[0],
        (POSITIVE,),
    ),
    "drop_connect": (lambda w: noise.drop_connect(w, 0.3, generator=_seeded()), (W,)),
    "gaussian_clip_bound": (lambda w: clipping.gaussian_clip_bound(w, 2.0), (W,)),
    "interpolate_table": (
        lambda x: curves.interpolate_table(
            x, torch.arange(5.0).double(), torch.arange(5.0).double() ** 2
        ),
        (_z(6, low=0.2, high=3.9),),
    ),
    "noise_management_factor": (
        lambda x: range_management.noise_management_factor(x, "abs_max_np_sum", out_bound=1.0),
        (W,),
    ),
    "noisy_weight additive": (_noisy("additive"), (W,)),
    "noisy_weight multiplicative": (_noisy("multiplicative"), (W,)),
    "noisy_weight polynomial": (_noisy("polynomial"), (W,)),
    "noisy_weight programming": (_noisy("programming"), (W,)),
    "noisy_weight pcm (pcm_weight_noise)": (_noisy("pcm"), (_z(3, 4, low=-1.9, high=1.9),)),
    "np_sum_factor": (lambda x: range_management.np_sum_factor(x, 10.0), (W,)),
    "offset_and_series_resistance": (
        lambda z, x: nonlinearity.offset_and_series_resistance(z, x, 0.05, 0.1, -1.0),
        (W, _z(3, 1)),
    ),
    "pairs_to_weights": (
        lambda a, b: conductance.pairs_to_weights([a, b], torch.tensor(25.0).double()),
        (POSITIVE, _z(8)),
    ),
    "polynomial": (lambda x: curves.polynomial(x, (0.1, -2.0, 3.0)), (W,)),
    "programming_noise_std": (
        lambda g: programming.programming_noise_std(g, (0.26, 1.97, -1.17), 25.0),
        (POSITIVE,),
    ),
    "read_noise_variance": (lambda v: noise.read_noise_variance(v.clone(), 0.0175), (POSITIVE,)),
    "remap_weights": (lambda w, s: clipping.remap_weights(w, s), (W, _z(3, low=0.5, high=1.5))),
    "s_shape": (lambda z, n: nonlinearity.s_shape(z, n, 1.5), (W, _z(4, low=0.1, high=0.3))),
    "single_to_weights": (
        lambda g, k: conductance.single_to_weights(g, k, 9.0),
        (POSITIVE, _z(2, low=1.0, high=9.0)),
    ),
    "subtract_ir_drop_": (
        lambda z, i, d: ir_drop.subtract_ir_drop_(z.clone(), i.clone(), d.clone(), 64.0, 1.0, 1e3),
        (_z(6), _z(6, low=1.0, high=9.0), _z(6)),
    ),
    "weights_to_pairs": (_pairs, (W,)),
    "weights_to_shaped_pair": (_shaped, (W,)),
    "weights_to_single": (lambda w: conductance.weights_to_single(w, 88.2, 9.0)[0], (W,)),
    "weights_to_table": (_table, (W,)),
}

#: A rule of its own, and the tests that state it.
RULES = {
    "analog_mvm": "test_mvm: test_gradients_agree_with_the_straight_through_rule",
    "input_range_gradient": "test_input_range: explicit rule of hardware_model.md d.4",
    "range_step": "test_input_range: the same rule from its sums",
}
#: Called inside a rule, or not a function of anything that is learned.
NONE = {
    "accumulated_noise_growth", "adc_", "add_output_noise_", "auxiliary_dtype", "combined_table",
    "converter_codes", "crossbar_codes", "crossbar_weights", "dac_codes", "faded", "managed_codes",
    "next_bound_factor",
    "position_weights", "product_dtype", "quantize_uniform", "quantizer_steps", "relative_error",
    "require_time", "searched_input_range", "standard_normal_like", "updated_input_range",
}  # fmt: skip
_SAME = {"power_law_noise_strength", "noisy_weight", "pcm_weight_noise"}  # spelled out in TRUE


@pytest.mark.parametrize("name", TRUE)
def test_stage_has_its_true_gradient(name):
    function, inputs = TRUE[name]
    assert torch.autograd.gradcheck(function, inputs)


def test_every_public_stage_is_in_one_of_the_three_lists():
    public = {
        name
        for module in MODULES
        for name, function in vars(import_module(f"aimc_lightning.functional.{module}")).items()
        if inspect.isfunction(function) and not name.startswith("_")
        if function.__module__ == f"aimc_lightning.functional.{module}"
    }
    assert public == ({*TRUE} & public) | {*RULES} | NONE | _SAME


@pytest.mark.parametrize("kind", ["discretize", "dorefa"])
def test_rounding_has_no_gradient_of_its_own(kind):
    # Why analog_mvm needs its rule: autograd alone would stop learning at the first converter.
    weight = torch.linspace(-1, 1, 11, dtype=torch.float64, requires_grad=True)
    rounded = noise.noisy_weight(weight, kind, 0.0, resolution=0.1)
    assert float(torch.autograd.grad(rounded.sum(), weight)[0].abs().max()) == 0.0
    quantised = quantize_uniform(weight, 254, 1.0)
    assert float(torch.autograd.grad(quantised.sum(), weight)[0].abs().max()) == 0.0

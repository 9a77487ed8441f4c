"""One tile: initialisation of its range, training noise, clipping, and its state."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.presets import get_preset
from aimc_lightning.tile_config import ClipConfig, WeightNoiseConfig
from aimc_lightning.tiles.periphery import build_periphery
from aimc_lightning.tiles.tile import AnalogTile
from tests.helpers import reference_mvm as reference

FIVE = TileConfig().with_values({
    "input_range.init_rule": "std",
    "input_range.init_batches": 5,
    "input_range.init_std_alpha": 2.0,
})  # fmt: skip
WEIGHT = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def _batches(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [scale * torch.randn(8, 6, generator=generator) for scale in range(1, count + 1)]


def _feed(tile: AnalogTile, batches: list[Tensor]) -> AnalogTile:
    for x in batches:
        tile(x, WEIGHT, LinearProduct())
    return tile


def _range(tile: AnalogTile) -> float:
    return float(tile.input_range.detach())


def test_first_batches_set_the_range_and_later_ones_do_not():
    tile, expected, count = AnalogTile([4], FIVE), 3.0, 0
    for number, x in enumerate(_batches(7)):
        tile(x, WEIGHT, LinearProduct())
        if number < 5:
            expected, count = reference.updated_range(expected, count, x.numpy(), 2.0)
        assert _range(tile) == pytest.approx(expected, rel=1e-5)
    assert int(tile.range_batches) == count == 5
    assert not tile.initializing


def test_batch_without_spread_is_not_counted():
    tile = _feed(AnalogTile([4], FIVE), [torch.zeros(8, 6), torch.ones(8, 6)])
    assert (_range(tile), int(tile.range_batches)) == (3.0, 0)


def test_evaluation_does_not_initialise():
    tile = _feed(AnalogTile([4], FIVE).eval(), _batches(2))
    assert (_range(tile), int(tile.range_batches)) == (3.0, 0)


@pytest.mark.parametrize(("mode", "start", "learned"), [
    ("learned", 2.5, True), ("fixed", 2.5, False), ("dynamic", 1.0, False), ("off", 1.0, False),
])  # fmt: skip
def test_mode_decides_start_and_training_of_the_range(mode, start, learned):
    config = TileConfig().with_values({"input_range.mode": mode, "input_range.initial": 2.5})
    tile = _feed(AnalogTile([4], config), _batches(1) if not learned else [])
    assert _range(tile) == start
    assert tile.input_range.requires_grad is learned
    assert tile.initializing is learned


def test_range_is_trained_from_its_start_without_initialisation():
    config = TileConfig().with_values({"input_range.init_batches": 0})
    tile = _feed(AnalogTile([4], config), _batches(1))
    assert _range(tile) == 3.0
    assert not tile.initializing


def test_loading_a_finished_checkpoint_switches_the_initialisation_off():
    finished = _feed(AnalogTile([4], FIVE), _batches(5)).state_dict()
    tile = AnalogTile([4], FIVE)
    tile.load_state_dict(finished)
    assert not tile.initializing
    before = _range(tile)
    assert _range(_feed(tile, _batches(1))) == before


def test_loading_an_unfinished_checkpoint_switches_the_initialisation_on_again():
    start = copy.deepcopy(AnalogTile([4], FIVE).state_dict())
    tile = _feed(AnalogTile([4], FIVE), _batches(5))
    tile.load_state_dict(start)
    assert tile.initializing
    assert int(_feed(tile, _batches(1)).range_batches) == 1


def test_loading_within_a_larger_model_restores_the_initialisation_too():
    finished = nn.ModuleDict({"a": _feed(AnalogTile([4], FIVE), _batches(5))}).state_dict()
    model = nn.ModuleDict({"a": AnalogTile([4], FIVE)})
    model.load_state_dict(finished)
    assert not model["a"].initializing


def _by_state_dict(tile: AnalogTile) -> AnalogTile:
    fresh = AnalogTile([4], FIVE)
    fresh.load_state_dict(tile.state_dict())
    return fresh


@pytest.mark.parametrize("copied", [
    copy.deepcopy, lambda tile: pickle.loads(pickle.dumps(tile)), _by_state_dict,
])  # fmt: skip
@pytest.mark.parametrize("seen", [0, 2, 5, 6])
def test_copy_in_the_middle_of_initialisation_goes_on_as_if_uninterrupted(copied, seen):
    batches = _batches(7)
    whole = _feed(AnalogTile([4], FIVE), batches)
    broken = _feed(copied(_feed(AnalogTile([4], FIVE), batches[:seen])), batches[seen:])
    assert torch.equal(broken.input_range, whole.input_range)
    assert torch.equal(broken.range_batches, whole.range_batches)
    assert broken.initializing is whole.initializing


def test_tile_used_twice_while_initialising_learns_from_both_uses():
    tile = AnalogTile([4], FIVE)
    total = sum(tile(x, WEIGHT, LinearProduct()).sum() for x in _batches(2))
    total.backward()
    assert torch.isfinite(tile.input_range.grad)
    assert int(tile.range_batches) == 2


def _weights(tile: AnalogTile) -> Tensor:
    return tile.prepare(WEIGHT).weights.weight


NOISY = TileConfig(weight_noise=WeightNoiseConfig(type="additive", std=0.1))


def test_weights_are_normalised_to_omega():
    for omega in (1.0, 0.5):
        config = TileConfig().with_values({"mapping.omega": omega})
        prepared = AnalogTile([4], config).eval().prepare(WEIGHT)
        torch.testing.assert_close(prepared.weights.weight.abs().amax(1), torch.full((4,), omega))
        back = prepared.weights.weight * prepared.mapping_scale[:, None]
        torch.testing.assert_close(back, WEIGHT)


def test_training_noise_is_absent_in_evaluation():
    tile = AnalogTile([4], NOISY)
    clean = WEIGHT / WEIGHT.abs().amax(1, keepdim=True)
    assert not torch.equal(_weights(tile), clean)
    assert torch.equal(_weights(tile.eval()), clean)


def test_training_noise_follows_its_scale():
    tile = AnalogTile([4], NOISY)
    clean = WEIGHT / WEIGHT.abs().amax(1, keepdim=True)
    deviations = []
    for tile.noise_scale in (0.0, 1.0, 2.0):
        torch.manual_seed(0)
        deviations.append(_weights(tile) - clean)
    assert (deviations[0] == 0).all()
    torch.testing.assert_close(deviations[2], 2 * deviations[1])


def test_noise_per_forward_is_new_each_time():
    tile = AnalogTile([4], NOISY)
    assert not torch.equal(_weights(tile), _weights(tile))


def test_noise_per_step_is_held_until_it_is_redrawn():
    tile = AnalogTile([4], NOISY.with_values({"weight_noise.draw": "step"}))
    held = _weights(tile)
    assert torch.equal(_weights(tile), held)
    tile.redraw_noise_()
    assert not torch.equal(_weights(tile), held)


def test_dropped_weights_are_zero_only_in_training():
    config = get_preset("ideal").with_values({"weight_noise.drop_connect": 0.5})
    tile = AnalogTile([400], config)
    weight = torch.ones(400, 500)
    dropped = tile.prepare(weight).weights.weight == 0
    # 2e5 draws: the standard error of the share is 0.0011.
    assert float(dropped.float().mean()) == pytest.approx(0.5, abs=5 * 0.0011)
    assert (tile.eval().prepare(weight).weights.weight == 1).all()


def test_sgd_step_changes_the_logical_weight_by_the_rate_times_dy_x():
    config = get_preset("ideal").with_values({"mapping.learn_out_scale": "column"})
    tile, weight = AnalogTile([4], config), WEIGHT.clone().requires_grad_()
    x, dy = _batches(1)[0], torch.randn(8, 4)
    tile(x, weight, LinearProduct()).backward(dy)
    torch.testing.assert_close(weight.grad, dy.t() @ x)


@pytest.mark.parametrize(("clip", "bound"), [
    (ClipConfig(type="fixed", value=1.0), lambda w: 1.0),
    (ClipConfig(type="gaussian", sigma=1.5), lambda w: 1.5 * w.std(ddof=1)),
    (ClipConfig(type="gaussian", sigma=9.0, value=1.0), lambda w: 1.0),
    (ClipConfig(type="channel_max"), lambda w: np.abs(w).max(1).mean()),
    (ClipConfig(), lambda w: np.inf),
])  # fmt: skip
@pytest.mark.parametrize("scaling", ["column", "tile"])
def test_clipping_acts_on_normalised_weights(clip, bound, scaling):
    config = TileConfig(clip=clip).with_values({"mapping.weight_scaling": scaling})
    weight = WEIGHT.double()
    largest = weight.abs().amax(1, keepdim=True)
    scale = (largest if scaling == "column" else largest.amax().expand(4, 1)).numpy()
    normalized = weight.numpy() / scale
    expected = normalized.clip(-bound(normalized), bound(normalized)) * scale
    AnalogTile([4], config).clip_(weight)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("clip", [
    ClipConfig(type="fixed", value=1.0), ClipConfig(type="channel_max", value=1.0),
])  # fmt: skip
def test_clipping_again_does_not_shrink_the_weights(clip):
    weight = WEIGHT.clone()
    tile = AnalogTile([4], TileConfig(clip=clip))
    tile.clip_(weight)
    once = weight.clone()
    tile.clip_(weight)
    assert torch.equal(weight, once)


def test_periphery_of_the_standard_model_has_the_values_of_the_specification():
    p = build_periphery(TileConfig())
    assert (p.dac_steps, p.adc_steps, p.out_bound) == (254, 254, 10.0)
    assert p.adc_step == pytest.approx(0.0787, abs=5e-5)
    assert (p.output_noise_std, p.read_noise_std, p.read_noise_type) == (0.04, 0.0175, "pcm")
    assert (p.ir_drop_scale, p.ir_drop_g_ratio) == (1.0, pytest.approx(571428.57))


def test_every_default_of_the_periphery_is_off():
    p = build_periphery(get_preset("ideal"))
    assert not p.clip_input
    assert p.dac_steps is p.adc_steps is p.out_bound is p.steepness is p.v_offset is None
    assert p.ir_drop_scale == p.read_noise_std == p.output_noise_std == p.input_noise_std == 0


def test_nonlinearity_is_per_full_scale_and_calibrated():
    config = TileConfig().with_values(
        {"distortion.out_nonlinearity": 0.5, "distortion.slope_calibration": 0.5}
    )
    p = build_periphery(config)
    assert float(p.steepness) == pytest.approx(0.05)
    assert p.slope == pytest.approx((1 + 0.05 * 0.5 * 10) ** 2)


def test_state_holds_range_scale_and_counter():
    assert set(AnalogTile([4], FIVE).state_dict()) == {"input_range", "out_scale", "range_batches"}


@pytest.mark.parametrize(("learn", "size", "trained"), [
    ("column", 7, True), ("tile", 1, True), (None, 1, False),
])  # fmt: skip
def test_output_scale_has_the_configured_size(learn, size, trained):
    config = TileConfig().with_values({"mapping.learn_out_scale": learn})
    tile = AnalogTile([4, 3], config)
    assert tile.out_scale.tolist() == [1.0] * size
    assert tile.out_scale.requires_grad is trained

"""One programmed chip: its error, its drift, its compensation."""

import dataclasses

import pytest
import torch
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.devices.faulty import FaultyDevice
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.devices.reram import ReRamWan2022
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.nn.base import program_, set_time_, unprogram_
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.presets import get_preset
from aimc_lightning.tiles import programmed
from aimc_lightning.tiles.periphery import build_periphery
from aimc_lightning.tiles.programmed import ProgrammedTile

HOUR, DAY, YEAR = 3600.0, 86_400.0, 31_536_000.0
QUIET = {"noise.output_std": 0.0, "noise.read_std": 0.0}
#: Converters and noise off, so that outputs show the weights themselves.
BARE = get_preset("ideal").with_values(
    {"chip.device": PCMDevice(), "chip.compensation": "global", "mapping.max_outputs": 3}
)


def _model(config: TileConfig, out: int = 5, inputs: int = 12, std: float = 0.3) -> nn.Sequential:
    torch.manual_seed(0)
    digital = nn.Linear(inputs, out, bias=False)
    nn.init.normal_(digital.weight, std=std)
    return nn.Sequential(AnalogLinear.from_digital(digital, config)).eval()


def _tile(model: nn.Sequential) -> ProgrammedTile:
    return model[0].analog.tiles[0].chip


def _aged(model: nn.Sequential, time_s: float, chip: int = 1, read: int = 1) -> torch.Tensor:
    program_(model, chip)
    set_time_(model, time_s, read)
    return _tile(model).weights.weight


@pytest.fixture(scope="module")
def gaussian() -> tuple[nn.Sequential, torch.Tensor]:
    """Tile of 512 inputs with Gaussian weights as in hardware_model.md g.12, and its inputs."""
    config = TileConfig().with_values(
        {"input_range.mode": "fixed", "input_range.initial": 3.0, "chip.chain": "collapsed"}
    )
    model = _model(config, out=128, inputs=512, std=1.0)
    return model, torch.randn(200, 512)


def _error(model: nn.Sequential, x: torch.Tensor) -> float:
    with torch.no_grad():
        ideal = x @ model[0].weight.t()
        return float((model(x) - ideal).norm(dim=1).mean() / ideal.norm(dim=1).mean())


@pytest.mark.parametrize(("time_s", "expected"), [
    (1.0, 0.123), (HOUR, 0.140), (DAY, 0.157), (YEAR, 0.196),
])  # fmt: skip
def test_error_of_a_standard_tile_agrees_with_the_specification(gaussian, time_s, expected):
    # Chips differ by 0.1 %, draws of w and x by up to 0.3 %; four chips of one draw are taken.
    model, x = gaussian
    errors = []
    for seed in range(4):
        program_(model, seed)
        set_time_(model, time_s, seed)
        errors.append(_error(model, x))
    unprogram_(model)
    assert sum(errors) / 4 == pytest.approx(expected, abs=0.006)


def test_error_without_programming_agrees_with_the_specification(gaussian):
    assert _error(*gaussian) == pytest.approx(0.041, abs=0.002)


@pytest.mark.parametrize(("time_s", "expected", "bound"), [
    (1.0, 1.003, 0.01), (HOUR, 1.30, 0.03), (DAY, 1.52, 0.04), (YEAR, 2.03, 0.08),
])  # fmt: skip
def test_compensation_has_the_typical_size(gaussian, time_s, expected, bound):
    model, _ = gaussian
    program_(model, 1)
    set_time_(model, time_s, 1)
    assert float(_tile(model).compensation[0]) == pytest.approx(expected, abs=bound)
    unprogram_(model)


@pytest.mark.parametrize("chain", ["pair", "collapsed"])
def test_both_chains_give_nearly_the_same_spread_of_weights(chain):
    # Programming noise of a full weight: hypot of both devices, 1.055 and 0.26 uS half-normal.
    config = BARE.with_values({"chip.chain": chain, "mapping.max_outputs": 0})
    model = _model(config, out=200, inputs=500)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    weight = _aged(model, 1.0)
    # At 1 s: read noise 3.7 % and the spread of drift add to sigma_prog = 4.2 % of 25 uS.
    assert float(weight.std()) == pytest.approx(0.056, rel=0.08)
    assert float(weight.mean()) == pytest.approx(0.9976 - 0.0084, rel=0.01)


def test_time_zero_is_the_programmed_weight_without_compensation():
    model = _model(BARE)
    weight = _aged(model, 0.0)
    expected = torch.cat([crossbar.weight for crossbar in _tile(model).crossbars])
    assert torch.equal(weight, expected)
    assert (_tile(model).compensation == 1).all()


@pytest.mark.parametrize("chain", ["pair", "collapsed"])
def test_times_may_be_visited_in_any_order(chain):
    model = _model(BARE.with_values({"chip.chain": chain}))
    direct = _aged(model, HOUR)
    set_time_(model, YEAR, 5)
    set_time_(model, 0.0, 6)
    set_time_(model, HOUR, 1)
    assert torch.equal(_tile(model).weights.weight, direct)


def test_read_noise_is_new_while_devices_stay():
    quiet = BARE.with_values({"chip.device": PCMDevice(read_noise_scale=0.0)})
    assert torch.equal(_aged(_model(quiet), HOUR, read=1), _aged(_model(quiet), HOUR, read=2))
    assert not torch.equal(_aged(_model(BARE), HOUR, read=1), _aged(_model(BARE), HOUR, read=2))


@pytest.mark.parametrize(
    "values",
    [
        {},
        QUIET,
        {"noise.output_spread": 0.2, "distortion.v_offset_std": 0.01},
        {"distortion.r_series": 0.02, "dac.asymmetry": 0.1, "noise.read_type": "constant"},
        {"distortion.polarity_std": 0.05, "chip.compensation": "column", "adc.bits": None},
    ],
    ids=str,
)
def test_read_out_of_the_ones_alone_is_that_of_whole_one_hot_vectors(values, monkeypatch):
    config = TileConfig().with_values({"mapping.max_outputs": 30, **values})
    model = _model(config, out=70, inputs=200)
    _aged(model, DAY)
    ours = _tile(model).compensation
    monkeypatch.setattr(programmed, "_one_hot", lambda *_: (torch.eye(200), LinearProduct()))
    _aged(model, DAY)
    assert torch.equal(ours, _tile(model).compensation)
    assert not torch.equal(ours, torch.ones_like(ours))


@pytest.mark.parametrize("values", [
    {"noise.input_std": 0.01}, {"dac.stochastic": True}, {"input_range.mode": "dynamic"},
], ids=str)  # fmt: skip
def test_read_out_takes_whole_vectors_where_zeros_do_not_stay_zero(values):
    periphery = build_periphery(TileConfig().with_values(values))
    assert programmed._one_hot(torch.ones(3, 7), periphery)[0].shape == (7, 7)
    assert programmed._one_hot(torch.ones(3, 7), build_periphery(TileConfig()))[0].shape == (7, 1)


def test_each_crossbar_is_compensated_by_itself():
    model = _model(BARE)
    _aged(model, YEAR)
    factors = _tile(model).compensation
    assert len(factors[:3].unique()) == len(factors[3:].unique()) == 1
    assert float(factors[0]) != float(factors[4])


def test_column_compensation_has_a_factor_per_output():
    model = _model(BARE.with_values({"chip.compensation": "column"}))
    _aged(model, YEAR)
    assert len(_tile(model).compensation.unique()) == 5


def test_no_compensation_is_a_factor_of_one():
    model = _model(BARE.with_values({"chip.compensation": "none"}))
    _aged(model, YEAR)
    assert (_tile(model).compensation == 1).all()
    assert torch.equal(_tile(model).output_scale, _tile(model).mapping_scale)


def test_exact_compensation_measures_against_the_ideal_weights():
    config = BARE.with_values({"chip.compensation": "exact", "mapping.max_outputs": 0})
    model = _model(config, out=40, inputs=60)
    weight = _aged(model, YEAR)
    w = model[0].weight.detach()
    ideal = (w / w.abs().amax(1, keepdim=True)).abs().mean()
    expected = float(ideal / weight.abs().mean())
    assert float(_tile(model).compensation[0]) == pytest.approx(expected, rel=1e-4)


def test_compensation_restores_the_mean_output():
    model = _model(BARE, out=100, inputs=200)
    weight = _aged(model, YEAR)
    program_(model, 1)
    start = _tile(model).weights.weight.abs().mean()
    set_time_(model, YEAR, 1)
    restored = (weight * _tile(model).compensation[:, None]).abs().mean()
    assert float(restored) == pytest.approx(float(start), rel=1e-3)


def test_stuck_devices_keep_their_conductance_for_ever():
    faulty = FaultyDevice(device=PCMDevice(read_noise_scale=0.0), p_g_max=0.5)
    config = BARE.with_values({"chip.device": faulty, "chip.compensation": "none"})
    model = _model(config, out=20, inputs=50)
    _aged(model, 0.0)
    crossbar = _tile(model).crossbars[0]
    stuck = [(g == 25.0) & (nu < 0) for g, nu in
             zip(crossbar.programmed_us, crossbar.drift_exponent, strict=True)]  # fmt: skip
    assert 0.4 < float(torch.cat(stuck).float().mean()) < 0.6
    both = stuck[0] & stuck[1]
    set_time_(model, YEAR, 1)
    aged = _tile(model).weights.weight[: len(both)]
    assert (aged[both] == 0).all()
    alone = stuck[0] & ~stuck[1]
    assert (aged[alone] > 0.2).all()


@pytest.mark.parametrize(("field", "values"), [
    ("noise.output_spread", {"noise.output_std": 0.1}), ("distortion.v_offset_std", {}),
    ("distortion.out_nonlinearity_std", {"adc.bound": 10.0, "distortion.out_nonlinearity": 1.0}),
    ("distortion.polarity_std", {}),
])  # fmt: skip
def test_spread_between_columns_belongs_to_the_chip(field, values):
    model = _model(BARE.with_values({**values, field: 0.5}))

    def spread(seed: int, time_s: float) -> torch.Tensor:
        _aged(model, time_s, chip=seed, read=seed)
        tile, p = _tile(model), _tile(model).periphery
        found = [tile.polarity, p.output_noise_factor, p.v_offset, p.steepness]
        return next(t for t in found if t is not None and t.numel() > 1)

    first = spread(1, 0.0)
    assert torch.equal(spread(1, YEAR), first)
    assert not torch.equal(spread(2, 0.0), first)
    assert torch.isfinite(model(torch.randn(3, 12))).all()


def test_chip_with_spread_needs_as_many_values_as_outputs():
    config = BARE.with_values({"noise.output_std": 0.1, "noise.output_spread": 0.5})
    model = _model(config)
    _aged(model, HOUR)
    assert _tile(model).periphery.output_noise_factor.shape == (5,)


def test_time_without_data_is_refused_and_leaves_the_chip_as_it_was():
    config = BARE.with_values({"chip.device": ReRamWan2022(), "chip.compensation": "none"})
    model = _model(config)
    weight = _aged(model, DAY).clone()
    with pytest.raises(ValueError, match="3600"):
        set_time_(model, HOUR, 1)
    assert torch.equal(_tile(model).weights.weight, weight)


def test_weights_of_a_chip_stay_when_training_goes_on():
    model = _model(BARE)
    before = _aged(model, HOUR).clone()
    with torch.no_grad():
        model[0].weight.mul_(5)
    assert torch.equal(_tile(model).weights.weight, before)


def test_noise_free_device_at_any_time_is_the_normalised_weight():
    ideal = dataclasses.replace(get_preset("ideal").chip.device)
    model = _model(BARE.with_values({"chip.device": ideal}))
    w = model[0].weight.detach()
    torch.testing.assert_close(_aged(model, YEAR), w / w.abs().amax(1, keepdim=True))

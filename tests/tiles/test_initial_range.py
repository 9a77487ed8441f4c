"""Rule ``mvm_error``: a range with which the whole tile, ADC included, errs least."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.devices.pcm import PCMDevice
from aimc_lightning.functional.product import ConvProduct, LinearProduct, Product
from aimc_lightning.nn.base import analog_tiles
from aimc_lightning.tile_config import ChipConfig
from aimc_lightning.tiles.initial_range import least_error_range
from aimc_lightning.tiles.tile import AnalogTile

SEARCH = TileConfig().with_values(
    {"input_range.init_rule": "mvm_error", "input_range.init_batches": 10}
)
CONV = ConvProduct((1, 1), (1, 1), (1, 1), 1)


def _positive(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.5


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _error(tile: AnalogTile, x: Tensor, weight: Tensor, product: Product, width: float) -> float:
    """Measured on all inputs, without the code of the search."""
    tile = tile.eval()
    with torch.no_grad():
        tile.input_range.fill_(width)
        y = tile(x, weight, product)
    ideal = product.forward(x, weight)
    axis = -1 if isinstance(product, LinearProduct) else 1
    per_vector = (y - ideal).square().sum(axis) / ideal.square().sum(axis)
    return float(per_vector.mean())


@pytest.mark.parametrize(("x", "weight", "product"), [
    (_positive(300, 200), _positive(8, 200, seed=1), LinearProduct()),  # clips at the ADC
    (_normal(300, 200), _normal(8, 200, seed=1), LinearProduct()),
    (_normal(300, 4), _normal(8, 4, seed=1), LinearProduct()),  # clips at the DAC alone
    (_positive(6, 16, 9, 9), _positive(8, 16, 3, 3, seed=1), CONV),
    (_normal(6, 16, 9, 9), _normal(8, 16, 3, 3, seed=1), CONV),
])  # fmt: skip
def test_range_errs_hardly_more_than_the_best(x, weight, product):
    torch.manual_seed(0)
    tile = AnalogTile([8], SEARCH)
    for _ in range(10):
        tile.initialize_range_(x, weight, product)
    assert int(tile.range_batches) == 10
    assert not tile.initializing
    found = tile.input_range.item()
    size = x.square().mean().sqrt().item()
    best = min(_error(tile, x, weight, product, size * 1.1**k) for k in range(45))
    assert _error(tile, x, weight, product, found) < 1.1 * best + 1e-5


def test_range_serves_fresh_and_aged_currents():
    law = (0.0, 0.05, 0.05, 0.05)  # one drift exponent for all: slope, offset, bounds
    device = PCMDevice(
        prog_noise_scale=0.0, drift_spread_scale=0.0, read_noise_scale=0.0, nu_mean_law=law
    )
    sizes = _normal(300, 1, seed=2).exp()  # the large ones clip, the small ones drown in noise
    x, weight = (_normal(300, 200) + 0.5) * sizes, _normal(8, 200, seed=1) + 0.3
    found, tiles = {}, {}
    for compensation in ("exact", "none"):  # without any, all times are taken as fresh
        chip = ChipConfig(device=device, compensation=compensation)
        config = SEARCH.with_values({"input_range.init_times_s": (0.0, 31_536_000.0)})
        tile = tiles[compensation] = AnalogTile([8], replace(config, chip=chip))
        torch.manual_seed(0)
        for _ in range(10):
            tile.initialize_range_(x, weight, LinearProduct())
        found[compensation] = tile.input_range.item()
    tile, generator = tiles["exact"], torch.Generator().manual_seed(0)
    tile.program_(weight, generator)

    def error(width: float) -> float:
        """Of a real chip, right after programming and after a year."""
        errors = []
        for age in (0.0, 31_536_000.0):
            tile.chip.set_time_(age, generator)
            errors.append(_error(tile, x, weight, LinearProduct(), width))
        return sum(errors)

    size = x.square().mean().sqrt().item()
    best = min(error(size * 1.1**k) for k in range(45))
    assert error(found["exact"]) < 1.1 * best
    assert error(found["none"]) > 1.2 * error(found["exact"])
    assert found["none"] > found["exact"]  # fresh currents alone clip more


def test_tile_whose_outputs_clip_gains_over_the_spread_of_its_inputs():
    x, weight = _positive(300, 200), _positive(8, 200, seed=1)
    torch.manual_seed(0)
    errors = {}
    for rule in ("std", "mvm_error"):
        tile = AnalogTile([8], SEARCH.with_values({"input_range.init_rule": rule}))
        tile(x, weight, LinearProduct())
        errors[rule] = _error(tile, x, weight, LinearProduct(), tile.input_range.item())
    assert errors["mvm_error"] < 0.02 < 0.3 < errors["std"]


def test_learned_scales_and_training_noise_do_not_count():
    x, weight, product = _normal(100, 50), _normal(8, 50, seed=1), LinearProduct()
    tile = AnalogTile(
        [8], SEARCH.with_values({"weight_noise.type": "additive", "weight_noise.std": 0.5})
    )
    plain = AnalogTile([8], SEARCH)
    with torch.no_grad():
        tile.out_scale.fill_(1.7)
    ranges = []
    for each in (tile, plain):
        torch.manual_seed(0)
        ranges.append(least_error_range(each, x, weight, product, each.range_batches)[0].item())
    assert ranges[0] == pytest.approx(ranges[1], rel=1e-3)
    assert tile.noise_scale == 1.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_of_numbers(dtype):
    x, weight = _normal(64, 50).to(dtype), _normal(8, 50, seed=1).to(dtype)
    tile = AnalogTile([8], SEARCH).to(dtype)
    tile.initialize_range_(x, weight, LinearProduct())
    assert 1 < tile.input_range.item() < 30
    assert tile.input_range.dtype == dtype


@pytest.mark.parametrize("layer", [
    nn.Linear(6, 4), nn.LSTM(6, 4, batch_first=True), nn.GRU(6, 4, batch_first=True),
    nn.Conv1d(6, 4, 3, groups=2), nn.MultiheadAttention(6, 2, batch_first=True),
])  # fmt: skip
def test_every_kind_of_layer_is_started(layer):
    model = nn.ModuleDict({"layer": layer})
    convert_to_analog(model, SEARCH)
    model.train()
    x = _normal(8, 6, 6)
    for _ in range(10):
        if isinstance(layer, nn.MultiheadAttention):
            model["layer"](x, x, x)
        else:
            model["layer"](x)
    tiles = analog_tiles(model).values()
    assert tiles
    for tile in tiles:
        assert int(tile.range_batches) == 10
        assert not tile.initializing
        assert tile.input_range.item() != 3.0


def test_single_vector_and_empty_batch():
    tile = AnalogTile([4], SEARCH)
    weight = _normal(4, 6)
    tile(torch.zeros(0, 6), weight, LinearProduct())
    assert int(tile.range_batches) == 0
    tile(_normal(6), weight, LinearProduct())
    assert int(tile.range_batches) == 1


def test_unbatched_image():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    convert_to_analog(model, SEARCH)
    model(_normal(3, 8, 8))
    (tile,) = analog_tiles(model).values()
    assert int(tile.range_batches) == 1

import math

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from aimc_lightning.checkpoint import state_fingerprint
from aimc_lightning.config import InputRangeConfig, TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.calibration import calibrate_input_ranges
from aimc_lightning.nn.base import analog_tiles
from aimc_lightning.tiles.periphery import build_periphery
from tests.helpers.toy import LIGHTNING_ADVICE, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

FIRST = "net.0.analog.tiles.0"


@pytest.fixture
def analog():
    module = toy()
    convert_to_analog(module)
    return module


def _points():
    """Two unshuffled batches, and the loader that gives them."""
    loader = ToyData(samples=32).val_dataloader()
    return [batch[0] for batch in loader], loader


def test_max_is_the_largest_magnitude_of_all_batches(analog):
    batches, loader = _points()
    ranges = calibrate_input_ranges(trainer(), analog, loader, method="max")
    assert ranges[FIRST] == max(x.abs().max().item() for x in batches)
    assert analog.net[0].analog.tiles[0].input_range.item() == ranges[FIRST]


def test_std_is_the_mean_of_three_standard_deviations(analog):
    batches, loader = _points()
    expected = 3 * sum(x.std().item() for x in batches) / 2
    assert calibrate_input_ranges(trainer(), analog, loader, "std")[FIRST] == pytest.approx(
        expected
    )


@pytest.mark.parametrize("share", [0.25, 0.9, 1.0])
def test_quantile_is_the_mean_of_the_quantiles_of_the_batches(analog, share):
    batches, loader = _points()
    sizes = [sorted(x.abs().flatten().tolist()) for x in batches]
    expected = sum(values[math.ceil(share * len(values)) - 1] for values in sizes) / 2
    found = calibrate_input_ranges(trainer(), analog, loader, "quantile", share)
    assert found[FIRST] == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.25, 0.9, 1.0])
def test_cached_quantile_is_that_of_all_batches_together(analog, share):
    batches, loader = _points()
    values = sorted(value for x in batches for value in x.abs().flatten().tolist())
    found = calibrate_input_ranges(trainer(), analog, loader, "cached_quantile", share)
    assert found[FIRST] == pytest.approx(values[math.ceil(share * len(values)) - 1])


def test_mvm_error_widens_the_range_of_a_tile_whose_outputs_clip(analog):
    with torch.no_grad():
        analog.net[0].weight.fill_(1.0)
    points = [(torch.full((4,), 2.0), torch.tensor(0))] * 16
    narrow = calibrate_input_ranges(trainer(), analog, DataLoader(points, 8), "max")[FIRST]
    many = TileConfig().with_values({"adc.bound": 1.0})  # four full inputs make 4
    for tile in analog_tiles(analog).values():
        tile.config, tile.periphery = many, build_periphery(many)
    found = calibrate_input_ranges(trainer(), analog, DataLoader(points, 8), "mvm_error")
    assert narrow == 2.0
    assert 7 < found[FIRST] < 12  # 2 x 4, within the noise of the output
    assert analog.net[0].analog.tiles[0].input_range.item() == found[FIRST]


def test_data_module_needs_training_data_only(analog):
    class TrainingOnly(LightningDataModule):
        def train_dataloader(self):
            return _points()[1]

    found = calibrate_input_ranges(trainer(), analog, TrainingOnly(), "max")
    assert found[FIRST] == max(x.abs().max().item() for x in _points()[0])


def test_batches_are_limited(analog):
    batches, loader = _points()
    found = calibrate_input_ranges(trainer(), analog, loader, "max", max_batches=1)
    assert found[FIRST] == batches[0].abs().max().item()


def test_ranges_do_not_depend_on_those_before_and_weights_stay(analog):
    first = calibrate_input_ranges(trainer(), analog, ToyData())
    before = state_fingerprint(analog)
    for tile in analog_tiles(analog).values():
        tile.input_range.data.fill_(0.01)
    assert calibrate_input_ranges(trainer(), analog, ToyData()) == first
    assert state_fingerprint(analog) == before
    assert calibrate_input_ranges(trainer(), analog, ToyData(), seed=1) != first


def test_means_of_centred_inputs_are_set_anew():
    module = toy()
    convert_to_analog(module, TileConfig().with_values({"input_range.centred": True}))
    tile = module.net[0].analog.tiles[0]
    tile.centring.mean.fill_(100.0)
    tile.centring.batches.fill_(1000)
    batches, loader = _points()
    found = calibrate_input_ranges(trainer(), module, loader, "max")
    mean = torch.stack([x.mean(0) for x in batches]).mean(0)
    torch.testing.assert_close(tile.centring.mean, mean)
    # The first batch lies about its own mean, the second about that of both.
    centred = (batches[0] - batches[0].mean(0)).abs().max(), (batches[1] - mean).abs().max()
    assert found[FIRST] == pytest.approx(max(centred).item())


def test_repeated_inputs_are_chosen_anew():
    module = toy()
    convert_to_analog(module, TileConfig().with_values({"mapping.split_outliers": True}))
    splitting = module.net[0].analog.tiles[0].splitting
    splitting.largest.copy_(torch.tensor([100.0, 0.0, 0.0, 0.0]))
    splitting.choose_()
    assert splitting.copies.tolist() == [5, 1, 1, 1]
    batches, loader = _points()
    found = calibrate_input_ranges(trainer(), module, loader, "max")
    largest = torch.stack([x.abs().amax(0) for x in batches]).amax(0)
    torch.testing.assert_close(splitting.largest, largest)
    assert splitting.copies.max() < 5
    assert found[FIRST] < largest.max()


def test_training_goes_on_from_the_calibrated_range(analog):
    ranges = calibrate_input_ranges(trainer(), analog, ToyData(), "max")
    tile = analog.net[0].analog.tiles[0]
    analog.train()
    analog(100 * torch.randn(8, 4))
    assert tile.input_range.item() == ranges[FIRST]
    assert not tile.initializing


def test_processes_and_random_state_change_nothing(analog):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    alone = calibrate_input_ranges(trainer(), analog, ToyData(), "max")
    assert torch.equal(torch.rand(3), expected)
    run = trainer(strategy="aimc_ddp_fork", devices=2)
    assert calibrate_input_ranges(run, analog, ToyData(), "max") == alone


def test_recurrent_tiles_are_calibrated():
    class Recurrent(type(toy())):
        def _make(self):
            self.lstm = torch.nn.LSTM(4, 3, batch_first=True)
            self.net = lambda x: self.lstm(x.unsqueeze(1))[0][:, 0]

    module = Recurrent()
    convert_to_analog(module)
    batches, loader = _points()
    found = calibrate_input_ranges(trainer(), module, loader, "max")
    assert max(x.abs().max().item() for x in batches) in found.values()


@pytest.mark.parametrize("centred", [False, True])
def test_error_changes_no_range(centred):
    analog = toy()
    convert_to_analog(analog, TileConfig().with_values({"input_range.centred": centred}))
    before = state_fingerprint(analog)
    points = ToyData().points
    bad = DataLoader([points[0], points[1], (torch.zeros(5), points[0][1])], 1)
    with pytest.raises(RuntimeError):
        calibrate_input_ranges(trainer(), analog, bad, "max")
    assert state_fingerprint(analog) == before
    assert "initialize_range_" not in vars(analog.net[0].analog.tiles[0])


def test_inputs_of_zero_keep_the_range(analog):
    points = ToyData().points
    loader = DataLoader([(torch.zeros(4), points[0][1])], 1)
    assert calibrate_input_ranges(trainer(), analog, loader, "max")[FIRST] == 3.0


@pytest.mark.parametrize(("settings", "message"), [
    ({"method": "mean"}, "method is 'mean'; it must be one of mvm_error, std, quant"),
    ({"quantile": 0.0}, "quantile is 0.0; it must be above 0"),
    ({"max_batches": 0}, "max_batches is 0"),
    ({"datamodule": None}, "there is no training loader"),
    ({"datamodule": ToyData(samples=0)}, "gave no batch"),
])  # fmt: skip
def test_impossible_arguments_are_refused(analog, settings, message):
    arguments = {"datamodule": ToyData(), **settings}
    with pytest.raises(ValueError, match=message):
        calibrate_input_ranges(trainer(), analog, **arguments)


@pytest.mark.parametrize("mode", [None, "fixed"])
def test_module_without_learned_ranges_is_refused(mode):
    module = toy()
    if mode is not None:
        convert_to_analog(module, TileConfig(input_range=InputRangeConfig(mode=mode)))
    with pytest.raises(ValueError, match="nothing to calibrate"):
        calibrate_input_ranges(trainer(), module, ToyData())

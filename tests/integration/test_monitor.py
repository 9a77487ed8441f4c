import csv

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from aimc_lightning.config import TileConfig
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.monitor import AnalogMonitor
from aimc_lightning.nn.base import analog_tiles
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]
KEYS = ("input_range", "weight_kurtosis", "clipped_inputs", "mvm_error")


def _fit(folder, *callbacks, config=NOISY, **settings):
    torch.manual_seed(0)
    module = toy()
    logger = CSVLogger(folder) if folder is not None else False
    run = trainer(AnalogTraining(config), *callbacks, logger=logger, **settings)
    run.fit(module, ToyData())
    if folder is None:
        return module, []
    (file,) = folder.rglob("metrics.csv")
    with file.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("analog/net.0/input_range")]
    return module, rows


def test_each_layer_is_logged_at_each_validation(tmp_path):
    module, rows = _fit(tmp_path, AnalogMonitor(), epochs=2)
    assert len(rows) == 2
    assert all(row[f"analog/{layer}/{key}"] for row in rows for layer in ("net.0", "net.2")
               for key in KEYS)  # fmt: skip
    last = float(rows[-1]["analog/net.2/input_range"])
    assert last == pytest.approx(analog_tiles(module)["net.2.analog.tiles.0"].input_range.item())


def test_values_are_those_of_the_batch(tmp_path):
    module, rows = _fit(tmp_path, AnalogMonitor(), epochs=1)
    x = next(iter(ToyData().val_dataloader()))[0].numpy()
    bound = analog_tiles(module)["net.0.analog.tiles.0"].input_range.item()
    assert float(rows[0]["analog/net.0/clipped_inputs"]) == pytest.approx(np.mean(abs(x) > bound))
    weight = module.net[0].weight.detach().double().numpy()
    centred = weight - weight.mean()
    kurtosis = (centred**4).mean() / (centred**2).mean() ** 2
    assert float(rows[0]["analog/net.0/weight_kurtosis"]) == pytest.approx(kurtosis, rel=1e-4)
    assert 0.001 < float(rows[0]["analog/net.0/mvm_error"]) < 1


def test_clipped_inputs_are_those_about_their_mean(tmp_path):
    config = TileConfig().with_values({"input_range.centred": True})
    module, rows = _fit(tmp_path, AnalogMonitor(), epochs=1, config=config)
    tile = analog_tiles(module)["net.0.analog.tiles.0"]
    x = next(iter(ToyData().val_dataloader()))[0] - tile.centring.mean
    expected = (x.abs() > tile.input_range).float().mean().item()
    assert float(rows[0]["analog/net.0/clipped_inputs"]) == pytest.approx(expected)


def test_training_is_watched_every_n_steps(tmp_path):
    _, rows = _fit(tmp_path, AnalogMonitor(every_n_steps=3), epochs=1, limit_val_batches=0)
    assert [int(row["step"]) for row in rows] == [1, 4]  # logged after steps 0 and 3


def test_training_is_the_same_with_and_without(tmp_path):
    plain, _ = _fit(None, epochs=2)
    watched, _ = _fit(tmp_path, AnalogMonitor(every_n_steps=1), epochs=2)
    for name, value in plain.state_dict().items():
        assert torch.equal(watched.state_dict()[name], value)


def test_no_hook_stays(tmp_path):
    module, _ = _fit(tmp_path, AnalogMonitor(every_n_steps=1), epochs=1)
    assert not any(m._forward_hooks for m in module.modules())


def test_interval_below_one_is_refused():
    with pytest.raises(ValueError, match="every_n_steps is 0; it must be 1 or more"):
        AnalogMonitor(every_n_steps=0)

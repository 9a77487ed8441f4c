"""``CalibrateInputRanges``: ranges that training leaves are replaced at its end."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from aimc_lightning.config import TileConfig
from aimc_lightning.evaluation.calibration_callback import CalibrateInputRanges
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_tiles
from tests.helpers.toy import LIGHTNING_ADVICE, OnlyTrained, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

CENTRED = TileConfig().with_values({"input_range.centred": True, "input_range.init_batches": 2})


def _fit(*callbacks, config=None, ckpt_path=None, **settings):
    torch.manual_seed(0)
    module = toy()
    run = trainer(AnalogTraining(config), *callbacks, **{"epochs": 2, **settings})
    run.fit(module, ToyData(), ckpt_path=ckpt_path)
    return module, run


def _first(module):
    return analog_tiles(module)["net.0.analog.tiles.0"]


def _largest():
    return max(float(x.abs().max()) for x, _ in ToyData().train_dataloader())


def test_ranges_are_set_from_training_batches_and_weights_stay():
    found, _ = _fit(CalibrateInputRanges("max", max_batches=1000))
    plain, _ = _fit()
    assert _first(found).input_range.item() == pytest.approx(_largest())
    assert _first(plain).input_range.item() != pytest.approx(_largest())
    for name, value in plain.state_dict().items():
        if not name.endswith(("input_range", "range_batches")):
            assert torch.equal(found.state_dict()[name], value), name


def test_checkpoint_that_is_saved_after_fit_has_them_and_earlier_ones_do_not(tmp_path):
    saving = ModelCheckpoint(tmp_path, save_last=True)
    found, run = _fit(
        saving, CalibrateInputRanges("max", max_batches=1000), enable_checkpointing=True
    )
    run.save_checkpoint(tmp_path / "after.ckpt")
    last, after = (
        torch.load(tmp_path / f"{name}.ckpt", weights_only=True)["state_dict"]
        for name in ("last", "after")
    )
    assert after["net.0.analog.tiles.0.input_range"] == _first(found).input_range
    assert last["net.0.analog.tiles.0.input_range"] != _first(found).input_range


def test_run_that_is_resumed_at_its_end_sets_them_too(tmp_path):
    _, run = _fit()
    run.save_checkpoint(tmp_path / "end.ckpt")
    callback = CalibrateInputRanges("max", max_batches=1000)
    found, _ = _fit(callback, ckpt_path=tmp_path / "end.ckpt")
    assert _first(found).input_range.item() == pytest.approx(_largest())


def test_means_of_centred_inputs_are_set_anew():
    found, _ = _fit(CalibrateInputRanges(max_batches=1000), config=CENTRED)
    batches = [x for x, _ in ToyData().train_dataloader()]
    mean = torch.stack([x.mean(0) for x in batches]).mean(0)
    torch.testing.assert_close(_first(found).centring.mean, mean, rtol=0, atol=0.2)
    assert int(_first(found).centring.batches) == len(batches)


class _Agreement(Callback):
    """Compares the ranges of two processes after those before it have set them."""

    def on_fit_end(self, trainer, pl_module):
        mine = torch.stack([tile.input_range.detach() for tile in analog_tiles(pl_module).values()])
        both = [torch.empty_like(mine) for _ in range(2)]
        torch.distributed.all_gather(both, mine)
        assert torch.equal(*both)


def test_processes_agree():
    torch.manual_seed(0)
    found = toy()
    callbacks = CalibrateInputRanges("max"), _Agreement()
    run = trainer(*callbacks, strategy="aimc_ddp_fork", devices=2, epochs=1)
    run.fit(found, ToyData())
    # The mean of the largest magnitudes of both halves of the data.
    assert 0.5 * _largest() < _first(found).input_range.item() <= _largest()


def test_says_what_it_did(caplog):
    with caplog.at_level("INFO"):
        _fit(CalibrateInputRanges())
    assert "input ranges of 2 tiles set anew by 'mvm_error'" in caplog.text


@pytest.mark.parametrize("settings", [{"method": "mean"}, {"max_batches": 0}])
def test_impossible_arguments_are_refused(settings):
    with pytest.raises(ValueError, match=r"method is 'mean'|max_batches is 0"):
        CalibrateInputRanges(**settings)


def test_digital_module_is_refused_before_training():
    run = trainer(CalibrateInputRanges(), epochs=1)
    with pytest.raises(ValueError, match="Put AnalogTraining before it"):
        run.fit(toy(), ToyData())
    assert run.global_step == 0


def test_module_without_an_evaluation_step_is_refused_before_training():
    run = trainer(AnalogTraining(), CalibrateInputRanges(), epochs=1)
    with pytest.raises(ValueError, match="no validation_step and no test_step"):
        run.fit(OnlyTrained(), ToyData().train_dataloader())
    assert run.global_step == 0

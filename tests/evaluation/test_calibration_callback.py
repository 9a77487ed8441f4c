"""``CalibrateInputRanges``: ranges that training leaves are replaced at its end."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from torchmetrics import CatMetric, SumMetric

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.calibration_callback import CalibrateInputRanges
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_tiles
from tests.helpers.toy import LIGHTNING_ADVICE, OnlyTrained, Toy, ToyData, toy, trainer

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


def _saved(path):
    state = torch.load(path, weights_only=True)["state_dict"]
    return state["net.0.analog.tiles.0.input_range"]


@pytest.mark.parametrize("limit", [{"epochs": 2}, {"epochs": 5, "max_steps": 12}])
@pytest.mark.parametrize("saving", [{}, {"monitor": "val_loss", "save_top_k": -1}])
def test_last_files_of_the_checkpoint_callback_have_them(limit, saving, tmp_path):
    saving = ModelCheckpoint(tmp_path, save_last=True, **saving)
    ranges = _RangesInValidation()
    found, run = _fit(
        CalibrateInputRanges("max", max_batches=1000),
        saving,
        ranges,
        enable_checkpointing=True,
        **limit,
    )
    assert _first(found).input_range.item() == pytest.approx(_largest())
    assert _saved(tmp_path / "last.ckpt") == _first(found).input_range
    assert ranges.seen[-1] == _first(found).input_range  # what is monitored is what is saved
    assert ranges.seen[0] != ranges.seen[-1]
    assert run.global_step == 12


class _RangesInValidation(Callback):
    def __init__(self):
        self.seen = []

    def on_validation_end(self, trainer, pl_module):
        self.seen.append(_first(pl_module).input_range.detach().clone())


class _Stop(Callback):
    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = True


def test_run_that_ends_early_sets_them_afterwards_and_says_so(tmp_path, caplog):
    saving = ModelCheckpoint(tmp_path, save_last=True)
    with caplog.at_level("INFO"):
        found, run = _fit(
            _Stop(), saving, CalibrateInputRanges("max", 1000), enable_checkpointing=True
        )
    assert _first(found).input_range.item() == pytest.approx(_largest())
    assert _saved(tmp_path / "last.ckpt") != _first(found).input_range
    assert "the files of ModelCheckpoint have the ranges of training" in caplog.text
    run.save_checkpoint(tmp_path / "after.ckpt")
    assert _saved(tmp_path / "after.ckpt") == _first(found).input_range


@pytest.mark.parametrize("other", [EMAWeightAveraging(), StochasticWeightAveraging(0.1)])
def test_averages_that_would_replace_them_are_refused_before_training(other):
    run, module = trainer(CalibrateInputRanges(), other), toy()
    convert_to_analog(module)
    with pytest.raises(ValueError, match=f"{type(other).__name__} puts averages over training"):
        run.fit(module, ToyData())
    assert run.global_step == 0


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


class _Counting(Toy):
    """Counts the samples of an epoch in metrics that are objects, one of them a list."""

    def __init__(self):
        super().__init__()
        self.seen, self.all = SumMetric(), CatMetric()

    def training_step(self, batch, batch_idx):
        self.seen.update(len(batch[1]))
        self.all.update(batch[1])
        self.log("seen", self.seen, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.seen.update(1000)
        self.all.update(batch[1])
        return super().validation_step(batch, batch_idx)

    def on_train_epoch_end(self):
        self.labels = self.all.compute()
        self.all.reset()


def test_metrics_of_the_training_epoch_stay_as_they_were():
    module = _Counting()
    settings = {"epochs": 1, "limit_val_batches": 0}
    run = trainer(AnalogTraining(), CalibrateInputRanges(), **settings)
    run.fit(module, ToyData())
    assert run.callback_metrics["seen"] == 44
    assert len(module.labels) == 44


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

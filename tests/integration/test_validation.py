import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_digital
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.validation import Validation
from aimc_lightning.nn.base import is_programmed, program_, set_time_, unprogram_
from tests.helpers.processes import NEEDS_FSDP
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, SaveOften, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

CHIPS = Validation(on=("ideal", "1h", "1y"), chips=2)


def _fit(validation, *callbacks, ckpt_path=None, seed=0, **settings):
    torch.manual_seed(100 + seed)
    module = toy(seed=seed)
    run = trainer(
        AnalogTraining(NOISY, validation=validation), *callbacks, **{"epochs": 3, **settings}
    )
    run.fit(module, ToyData(), ckpt_path=ckpt_path)
    return module, run


def _assert_same_weights(first, second):
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_metrics_are_named_after_what_was_measured():
    _, run = _fit(CHIPS)
    expected = {f"val_{m}{at}" for m in ("acc", "loss") for at in ("", "@ideal", "@1h", "@1y")}
    assert set(run.callback_metrics) == expected


@pytest.mark.parametrize(
    "settings", [{}, {"val_check_interval": 0.5}, {"accumulate_grad_batches": 2}]
)
def test_training_and_plain_metrics_are_the_same_to_the_last_bit(settings):
    plain, run = _fit(None, **settings)
    measured, run_measured = _fit(CHIPS, **settings)
    _assert_same_weights(plain, measured)
    for name, value in run.callback_metrics.items():
        assert torch.equal(run_measured.callback_metrics[name], value)


def test_training_is_the_same_with_weight_averaging():
    plain, _ = _fit(None, EMAWeightAveraging(decay=0.9))
    measured, _ = _fit(CHIPS, EMAWeightAveraging(decay=0.9))
    _assert_same_weights(plain, measured)


def test_resume_stays_exact(tmp_path):
    expected, _ = _fit(CHIPS, SaveOften(tmp_path), val_check_interval=0.5)
    for path in sorted(tmp_path.iterdir())[2:-1:5]:
        resumed, _ = _fit(CHIPS, ckpt_path=path, seed=5, val_check_interval=0.5)
        _assert_same_weights(expected, resumed)


def _accuracy(module):
    # In the loader's batches, so that the noise is drawn in the same order.
    module.eval()
    with torch.no_grad():
        right = [(module(x).argmax(1) == y) for x, y in ToyData().val_dataloader()]
    return torch.cat(right).float().mean().item()


def test_aged_score_is_that_of_the_chip_programmed_by_hand():
    module, run = _fit(Validation(on="1y", seed=4))
    program_(module, 4)
    set_time_(module, 365 * 86400.0, 4)
    assert run.callback_metrics["val_acc@1y"].item() == pytest.approx(_accuracy(module))
    unprogram_(module)


def test_ideal_score_is_that_of_the_digital_model():
    module, run = _fit(Validation(on="ideal"))
    convert_to_digital(module)
    assert run.callback_metrics["val_acc@ideal"].item() == pytest.approx(_accuracy(module))


def test_averaged_weights_are_the_ones_programmed():
    module, run = _fit(Validation(on="ideal"), EMAWeightAveraging(decay=0.99))
    # At the end of fit the module holds the average.
    convert_to_digital(module)
    assert run.callback_metrics["val_acc@ideal"].item() == pytest.approx(_accuracy(module))


def test_model_checkpoint_and_early_stopping_monitor_an_aged_chip(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="val_acc@1d", mode="max")
    stop = EarlyStopping("val_loss@1d", patience=1, min_delta=100.0)
    _, run = _fit(Validation(on="1d"), best, stop, epochs=6)
    assert best.best_model_score is not None
    assert run.current_epoch == 2  # no epoch improves by 100


class _Compare(Callback):
    """Compares what the processes have for an aged chip, and for their own data."""

    def on_validation_end(self, trainer, pl_module):
        mine = {name: float(value) for name, value in trainer.callback_metrics.items()}
        both = [None] * 2
        torch.distributed.all_gather_object(both, mine)
        first, second = both
        differ = {name for name in mine if first[name] != second[name]}
        # Halves of the data may happen to have the same accuracy.
        if differ - {"val_acc"} != {"val_loss"} or first["val_loss@1d"] == first["val_loss"]:
            raise RuntimeError(f"{first} and {second}")


class _Still(Toy):
    """Trains without moving, so that every number of processes ends with the same weights."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize(
    "strategy", ["aimc_ddp_fork", pytest.param("aimc_fsdp_fork", marks=NEEDS_FSDP)]
)
def test_two_processes_have_the_score_of_the_chip_of_one_process(strategy):
    # Without read noise, which each process draws for its own data. Each has half of the data, so
    # the sums are rounded otherwise; another chip differs by far more.
    still = TileConfig().with_values(
        {"noise.output_std": 0.0, "noise.read_std": 0.0, "input_range.init_batches": 0}
    )
    scores = []
    for seed, callbacks, settings in (
        (0, [], {}), (1, [], {}), (0, [_Compare()], {"strategy": strategy, "devices": 2}),
    ):  # fmt: skip
        module = _Still()
        module.load_state_dict(toy().state_dict())
        analog = AnalogTraining(still, validation=Validation(on="1d", seed=seed))
        run = trainer(analog, *callbacks, epochs=1, **settings)
        run.fit(module, ToyData(samples=64))
        scores.append([float(run.callback_metrics[f"val_{name}@1d"]) for name in ("loss", "acc")])
    one, other_chip, two = scores
    assert two == pytest.approx(one, rel=1e-5)
    assert other_chip[0] != pytest.approx(one[0], rel=1e-3)


def test_module_holds_no_chip_while_training_and_after():
    module, _ = _fit(CHIPS)
    assert not is_programmed(module)


def test_loggers_receive_one_row_for_each_validation(tmp_path):
    _fit(CHIPS, logger=CSVLogger(tmp_path))
    (file,) = tmp_path.rglob("metrics.csv")
    header, *rows = file.read_text().splitlines()
    assert {"val_acc", "val_acc@1y", "val_acc@ideal"} <= set(header.split(","))
    assert len(rows) == 3


def test_sanity_check_programs_nothing():
    _, run = _fit(CHIPS, num_sanity_val_steps=1, max_epochs=0)
    assert "val_acc@1h" not in run.callback_metrics


def test_validation_loop_gets_its_own_run_back():
    _, run = _fit(CHIPS)
    assert "run" not in vars(run.fit_loop.epoch_loop.val_loop)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on": "aged"}, "Cannot read the time 'aged'.*also takes 'noisy' and 'ideal'"),
        ({"on": ()}, "on is empty"),
        ({"chips": 0}, "chips is 0; it must be a whole number"),
        ({"on": "-1d"}, "Cannot read the time"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Validation(**settings)

"""What cannot work is refused at set-up, before any training step, and says what to change."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy

from aimc_lightning.checkpoint import METADATA_KEY
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.checks import check_trainer
from aimc_lightning.integration.strategy import AimcDDPStrategy, AimcStrategy
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


class _Counting(Toy):
    steps = 0

    def training_step(self, batch, batch_idx):
        type(self).steps += 1
        return super().training_step(batch, batch_idx)


def _refused(*callbacks, message, module=None, ckpt_path=None, **settings):
    """Expect an error with a message, and no training step before it."""
    module = _Counting() if module is None else module
    run = trainer(*callbacks, **settings)
    _Counting.steps = 0
    with pytest.raises(ValueError, match=message):
        run.fit(module, ToyData(), ckpt_path=ckpt_path)
    assert _Counting.steps == 0


def _checkpoint(folder, *callbacks):
    run = trainer(*callbacks, epochs=1)
    run.fit(_Counting(), ToyData())
    assert _Counting.steps > 0  # so that the check of _refused can fail
    run.save_checkpoint(folder / "a.ckpt", weights_only=False)
    return folder / "a.ckpt"


@pytest.mark.parametrize("strategy", [AimcStrategy, AimcDDPStrategy])
def test_callback_and_strategy_with_unequal_configs(strategy):
    message = r"different settings .*Give them to the callback alone.* the strategy got config"
    options = {} if strategy is AimcStrategy else {"start_method": "fork"}
    _refused(AnalogTraining(), message=message, strategy=strategy(NOISY, **options))


def test_weight_averaging_before_the_callback():
    message = r"List it after: callbacks=\[AnalogTraining\(\.\.\.\), EMAWeightAveraging"
    _refused(EMAWeightAveraging(), AnalogTraining(), message=message)


def test_weight_averaging_of_layers_made_in_setup():
    message = (
        "weight averaging does before setup.*Make the layers in __init__ or in configure_model"
    )
    _refused(AnalogTraining(), EMAWeightAveraging(), message=message, module=toy("setup"))


def test_second_fit_with_another_config():
    module = _Counting()
    trainer(AnalogTraining(), epochs=1).fit(module, ToyData())
    _refused(AnalogTraining(NOISY), message="call convert_to_digital", module=module)


def test_second_fit_with_another_selection():
    module = _Counting()
    trainer(AnalogTraining(), epochs=1).fit(module, ToyData())
    message = r"'net.2' is analog \(excluded now\).*Give the same again"
    _refused(AnalogTraining(exclude=["net.2"]), message=message, module=module)


def test_second_callback_with_another_selection():
    callbacks = AnalogTraining(include=["net.0"]), AnalogTraining(include=["net.2"])
    _refused(*callbacks, message=r"several configs as layers=\{name: config\}")


def test_checkpoint_from_a_newer_format(tmp_path):
    path = _checkpoint(tmp_path, AnalogTraining())
    checkpoint = torch.load(path, weights_only=True)
    checkpoint[METADATA_KEY]["format_version"] = 99
    torch.save(checkpoint, path)
    message = "format version 99.*Install a newer aimc_lightning"
    _refused(AnalogTraining(), message=message, ckpt_path=path)


def test_resume_with_another_layer_selection(tmp_path):
    path = _checkpoint(tmp_path, AnalogTraining())
    message = r"checkpoint only: \['net.2'\].*Use the include and exclude of the first run"
    _refused(AnalogTraining(exclude=["net.2"]), message=message, ckpt_path=path)


def test_resume_with_another_config(tmp_path):
    path = _checkpoint(tmp_path, AnalogTraining())
    message = "weight_noise.draw was 'forward' and is 'step'.*Go on with the config of the first"
    _refused(AnalogTraining(NOISY), message=message, ckpt_path=path)


def test_resume_from_a_digital_checkpoint(tmp_path):
    path = _checkpoint(tmp_path)
    _refused(AnalogTraining(), message="Load its weights into the module first", ckpt_path=path)


def test_strategy_that_forks_before_the_conversion():
    message = "Use strategy='aimc_ddp_fork'"
    run = trainer(AnalogTraining(), strategy="ddp_fork", devices=2)
    with pytest.raises(Exception, match=message) as info:  # torch wraps errors of processes
        run.fit(_Counting(), ToyData())
    assert "training_step" not in str(info.value)


def test_strategy_for_one_device_with_two():
    _refused(message="Use strategy='aimc_ddp', or devices=1", strategy="aimc", devices=2)


@pytest.mark.parametrize("kind", [FSDPStrategy, DeepSpeedStrategy])
def test_strategy_that_cuts_weights_up(kind):
    # Lightning makes neither without a GPU, so that only our check can be asked here.
    run = SimpleNamespace(strategy=object.__new__(kind), callbacks=[])
    with pytest.raises(ValueError, match="Use strategy='aimc_"):
        check_trainer(run, AnalogTraining(), toy(), "fit")


def test_forked_fit_of_layers_made_in_setup():
    message = "Make layers in __init__ or configure_model"
    _refused(message=message, module=toy("setup"), strategy="aimc_ddp_fork", devices=2)

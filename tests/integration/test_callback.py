import logging
import warnings

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)

from aimc_lightning.checkpoint import METADATA_KEY
from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.integration import steps
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.schedule import NoiseSchedule
from aimc_lightning.nn.base import analog_layers, analog_tiles
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, OnlyTrained, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

WHERE = ("init", "setup", "configure_model")


def _fit(*callbacks, module=None, ckpt_path=None, epochs=1, **settings):
    module = toy() if module is None else module
    run = trainer(*callbacks, epochs=epochs, **settings)
    run.fit(module, ToyData(), ckpt_path=ckpt_path)
    return module, run


@pytest.mark.parametrize("where", WHERE)
def test_layers_are_converted_wherever_the_module_makes_them(where):
    module, _ = _fit(AnalogTraining(), module=toy(where))
    assert list(analog_layers(module)) == ["net.0", "net.2"]


@pytest.mark.parametrize("where", WHERE)
def test_input_ranges_and_scales_reach_the_optimizer(where):
    module, run = _fit(AnalogTraining(), module=toy(where))
    optimized = {id(p) for group in run.optimizers[0].param_groups for p in group["params"]}
    for tile in analog_tiles(module).values():
        assert id(tile.input_range) in optimized
        assert id(tile.out_scale) in optimized


@pytest.mark.parametrize("where", WHERE)
def test_resume_restores_analog_values_into_converted_layers(where, tmp_path):
    module, run = _fit(AnalogTraining(), module=toy(where))
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    other = toy(where, seed=1)
    _fit(AnalogTraining(), module=other, ckpt_path=tmp_path / "a.ckpt")  # nothing left to train
    for key, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def test_second_fit_goes_on_with_the_same_layers():
    module, run = _fit(AnalogTraining())
    layers = list(analog_layers(module).values())
    run.fit_loop.max_epochs = 2
    run.fit(module, ToyData())
    assert list(analog_layers(module).values()) == layers
    trainer(AnalogTraining()).fit(module, ToyData())
    assert list(analog_layers(module).values()) == layers


def test_validate_and_test_after_fit_use_the_analog_module():
    module, run = _fit(AnalogTraining())
    assert "val_acc" in run.validate(module, ToyData(), verbose=False)[0]
    assert "test_acc" in run.test(module, ToyData(), verbose=False)[0]
    assert len(analog_layers(module)) == 2


def test_second_fit_with_another_config_is_refused():
    module, _ = _fit(AnalogTraining())
    with pytest.raises(ValueError, match="already analog with another config"):
        _fit(AnalogTraining(NOISY), module=module)


def test_analog_module_keeps_its_settings_unless_others_are_given():
    module, _ = _fit(AnalogTraining(NOISY, exclude=["net.2"]))
    layers = dict(analog_layers(module))
    _fit(AnalogTraining(), module=module)
    assert dict(analog_layers(module)) == layers
    assert layers["net.0"].analog.config == NOISY
    with pytest.raises(ValueError, match="already analog with another config"):
        _fit(AnalogTraining(preset="standard_pcm"), module=module)


@pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode")
def test_analog_layers_in_evaluation_mode_are_named():
    module, _ = _fit(AnalogTraining())
    with pytest.warns(UserWarning, match=r"2 analog layers \(net\.0, net\.2\) are in evaluation"):
        _fit(AnalogTraining(), module=module.eval())
    module.requires_grad_(False).net[0].bias.requires_grad_()
    module.net[0].train()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*analog layer")
        _fit(AnalogTraining(), module=module)


def test_nothing_to_convert_is_an_error():
    with pytest.raises(ValueError, match="No layer was converted"):
        _fit(AnalogTraining(exclude=["net.*"]))


def test_unknown_layer_is_an_error_that_lists_the_layers():
    with pytest.raises(ValueError, match=r"No layer matches 'head'; .*net\.0, net\.2"):
        _fit(AnalogTraining(include=["head"]))


def test_unknown_preset_is_an_error_before_any_step():
    with pytest.raises(ValueError, match="Unknown preset 'pcm9'"):
        trainer(AnalogTraining(preset="pcm9"))


def test_conversion_is_reported_once(caplog):
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        module, run = _fit(AnalogTraining())
        run.test(module, ToyData(), verbose=False)
    assert sum("2 layers on 2 tiles" in record.message for record in caplog.records) == 1


def test_reminder_when_the_model_was_never_programmed(caplog):
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        _fit(AnalogTraining())
    assert any("never programmed" in record.message for record in caplog.records)


def test_weights_are_clipped_after_optimizer_steps_not_after_batches(monkeypatch):
    calls = []
    monkeypatch.setattr(steps, "clip_weights_", lambda _: calls.append("clip"))
    monkeypatch.setattr(steps, "redraw_weight_noise_", lambda _: calls.append("redraw"))
    _, run = _fit(AnalogTraining(), accumulate_grad_batches=4)
    assert run.global_step == 2  # six batches: one step after four, one at the end
    assert calls == ["clip", "redraw"] * 2


def test_held_noise_lasts_for_the_accumulated_batches_and_not_longer():
    class Spy(AnalogTraining):
        held: list = []  # noqa: RUF012

        def on_before_backward(self, trainer, pl_module, loss):
            tile = next(iter(analog_tiles(pl_module).values()))
            self.held.append(tile._held)

    spy = Spy(NOISY)
    _fit(spy, accumulate_grad_batches=2)
    assert spy.held[0] is spy.held[1]
    assert spy.held[1] is not spy.held[2]


def test_weight_averaging_before_the_callback_is_refused():
    with pytest.raises(ValueError, match=r"List it after: callbacks=\[AnalogTraining"):
        _fit(EMAWeightAveraging(), AnalogTraining())


def test_weight_averaging_after_the_callback_averages_analog_parameters():
    module, _ = _fit(AnalogTraining(), EMAWeightAveraging(decay=0.5))
    assert len(analog_layers(module)) == 2


def test_stochastic_weight_averaging_is_refused():
    with pytest.raises(ValueError, match="Use WeightAveraging"):
        _fit(AnalogTraining(), StochasticWeightAveraging(swa_lrs=0.1))


def test_fork_with_a_digital_module_is_refused():
    with pytest.raises(Exception, match="Use strategy=.aimc_ddp_fork") as info:
        _fit(AnalogTraining(), strategy="ddp_fork", devices=2)
    assert "would remain digital" in str(info.value)


def test_fork_with_a_converted_module_brings_the_analog_weights_back():
    module = toy()
    convert_to_analog(module)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    _fit(AnalogTraining(), module=module, strategy="ddp_fork", devices=2)
    for tile in ("net.0.analog.tiles.0", "net.2.analog.tiles.0"):
        assert module.state_dict()[f"{tile}.range_batches"] > 0
        assert module.state_dict()[f"{tile}.input_range"] != before[f"{tile}.input_range"]


class _CompareRanks(Callback):
    def on_train_end(self, trainer, pl_module):
        mine = torch.cat([p.detach().flatten() for p in pl_module.parameters()])
        gathered = [torch.empty_like(mine) for _ in range(trainer.world_size)]
        torch.distributed.all_gather(gathered, mine)
        if not torch.equal(*gathered):
            raise RuntimeError("the ranks differ")


def test_ranks_agree_on_input_ranges_although_each_sets_them_from_its_own_data():
    module = toy()
    convert_to_analog(module, NOISY)
    _fit(AnalogTraining(NOISY), _CompareRanks(), module=module, strategy="ddp_fork", devices=2)


def test_checkpoint_loads_safely_and_describes_the_conversion(tmp_path):
    _, run = _fit(AnalogTraining(exclude=["net.2"]))
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    metadata = checkpoint[METADATA_KEY]
    assert metadata["format_version"] == 1
    assert metadata["exclude"] == ["net.2"]
    assert metadata["conversions"][0]["layers"] == ["net.0"]


def test_weights_only_checkpoint_describes_the_conversion_too(tmp_path):
    saver = ModelCheckpoint(tmp_path, save_weights_only=True, filename="a")
    _fit(AnalogTraining(), saver)
    assert METADATA_KEY in torch.load(tmp_path / "a.ckpt", weights_only=True)


def test_callbacks_with_other_configs_have_other_state_keys():
    keys = {
        AnalogTraining().state_key,
        AnalogTraining(NOISY).state_key,
        AnalogTraining(exclude=["head"]).state_key,
    }
    assert len(keys) == 3
    assert AnalogTraining().state_key == AnalogTraining(preset="standard_pcm").state_key


def _checkpoint(folder, **settings):
    _, run = _fit(AnalogTraining(**settings))
    path = folder / "a.ckpt"
    run.save_checkpoint(path, weights_only=False)
    return path


def test_resume_with_another_layer_selection_is_refused(tmp_path):
    path = _checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint only: \['net.2'\].*include=None"):
        _fit(AnalogTraining(exclude=["net.2"]), ckpt_path=path, epochs=2)


def test_resume_with_another_config_names_the_field(tmp_path):
    path = _checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r"weight_noise.draw was 'forward' and is 'step'"):
        _fit(AnalogTraining(NOISY), ckpt_path=path, epochs=2)


def test_resume_from_a_newer_format_is_refused(tmp_path):
    path = _checkpoint(tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint[METADATA_KEY]["format_version"] = 99
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match="format version 99"):
        _fit(AnalogTraining(), ckpt_path=path, epochs=2)


def test_resume_from_a_digital_checkpoint_says_what_to_do(tmp_path):
    _, run = _fit()
    run.save_checkpoint(tmp_path / "digital.ckpt", weights_only=False)
    with pytest.raises(ValueError, match="Load its weights into the module first"):
        _fit(AnalogTraining(), ckpt_path=tmp_path / "digital.ckpt", epochs=2)


def test_digital_checkpoint_loads_into_an_analog_module_for_testing(tmp_path):
    digital, run = _fit()
    run.save_checkpoint(tmp_path / "digital.ckpt", weights_only=False)
    module = toy(seed=1)
    trainer(AnalogTraining()).test(
        module, ToyData(), ckpt_path=tmp_path / "digital.ckpt", verbose=False
    )
    assert torch.equal(module.net[0].weight, digital.net[0].weight)
    assert len(analog_layers(module)) == 2


def test_analog_weights_load_back_into_a_digital_module():
    module, _ = _fit(AnalogTraining())
    convert_to_digital(module)
    toy(seed=1).load_state_dict(module.state_dict(), strict=True)


def test_noise_ramp_by_step_counts_optimizer_steps():
    scales = []

    class Spy(AnalogTraining):
        def on_before_backward(self, trainer, pl_module, loss):
            scales.append(next(iter(analog_tiles(pl_module).values())).noise_scale)

    schedule = NoiseSchedule(unit="step", noise_free=1, ramp=2)
    _fit(Spy(schedule=schedule), epochs=1, accumulate_grad_batches=2)
    assert scales == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]


def test_frozen_input_ranges_do_not_move():
    module = toy()
    schedule = NoiseSchedule(freeze_input_range=1)
    run = trainer(AnalogTraining(NOISY, schedule=schedule), epochs=1)
    run.fit(module, ToyData())
    before = [tile.input_range.item() for tile in analog_tiles(module).values()]
    run.fit_loop.max_epochs = 3
    run.fit(module, ToyData())
    assert [tile.input_range.item() for tile in analog_tiles(module).values()] == before


def test_no_hook_is_left_on_the_module_after_a_failure():
    class Failing(Toy):
        def configure_optimizers(self):
            raise RuntimeError("stop")

    module = Failing()
    with pytest.raises(RuntimeError, match="stop"):
        _fit(AnalogTraining(), module=module)
    assert "configure_model" not in vars(module)


class _BadBatch(Toy):
    """Gets a batch with an infinity in the third step."""

    def on_before_batch_transfer(self, batch, dataloader_idx):
        if self.trainer.training and self.trainer.fit_loop.total_batch_idx == 1:
            batch[0][0, 0] = float("inf")
        return batch


def test_infinity_in_a_batch_names_the_layer():
    with pytest.raises(ValueError, match=r"Layer 'net\.0' received NaN or infinity"):
        _fit(AnalogTraining(), module=_BadBatch())


def test_nan_weight_after_a_step_names_the_layer():
    class Diverging(Toy):
        def on_train_batch_end(self, *_):
            with torch.no_grad():
                self.net[2].weight[0, 0] = float("nan")

    with pytest.raises(ValueError, match=r"NaN or infinity in net\.2\.weight"):
        _fit(AnalogTraining(), module=Diverging())


def test_nan_weight_in_evaluation_names_the_layer():
    module, run = _fit(AnalogTraining())
    with torch.no_grad():
        module.net[0].bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or infinity in net\.0\.bias"):
        run.test(module, ToyData(), verbose=False)


def test_nan_outside_of_analog_layers_is_left_to_the_user():
    class Masked(Toy):
        def training_step(self, batch, batch_idx):
            x, y = batch
            return super().training_step([torch.nan_to_num(x), y], batch_idx)

        def on_before_batch_transfer(self, batch, dataloader_idx):
            batch[0] = batch[0].clone()
            batch[0][0, 0] = float("nan")  # for example a missing value that the step handles
            return batch

    _fit(AnalogTraining(), module=Masked(), limit_val_batches=0)


def test_callback_works_with_a_module_without_configure_model():
    module = OnlyTrained()
    trainer(AnalogTraining(), epochs=1).fit(module, ToyData().train_dataloader())
    assert list(analog_layers(module)) == ["layer"]


def test_preset_in_the_place_of_the_config_is_an_error_that_says_so():
    with pytest.raises(TypeError, match="name a preset with preset='standard_pcm'"):
        trainer(AnalogTraining("standard_pcm"))


def test_config_beside_another_preset_is_refused_since_one_would_be_ignored():
    with pytest.raises(ValueError, match="config and preset='hermes_1' are both given"):
        AnalogTraining(TileConfig(), preset="hermes_1")
    assert AnalogTraining(TileConfig(), preset="standard_pcm").tile_config == TileConfig()

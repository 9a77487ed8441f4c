"""Traps of Lightning into which a naive implementation falls; one test for each."""

import importlib.metadata

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from lightning.pytorch.utilities.compile import _verify_strategy_supports_compile

from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.integration import steps
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_layers, analog_tiles, program_, set_time_
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

FORK = {"strategy": "aimc_ddp_fork", "devices": 2}


def _fit(*callbacks, module=None, **settings):
    module = toy() if module is None else module
    run = trainer(*callbacks, epochs=1, **settings)
    run.fit(module, ToyData())
    return module, run


def test_trap_1_forked_workers_keep_the_analog_weights():
    with pytest.raises(Exception, match="Use strategy='aimc_ddp_fork'"):
        _fit(AnalogTraining(), strategy="ddp_fork", devices=2)
    module, _ = _fit(AnalogTraining(), **FORK)
    assert all(tile.range_batches > 0 for tile in analog_tiles(module).values())


def test_trap_2_lightnings_loader_does_not_know_analog_keys(tmp_path):
    module, run = _fit(AnalogTraining())
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        Toy.load_from_checkpoint(tmp_path / "a.ckpt")
    loaded = load_from_checkpoint(Toy, tmp_path / "a.ckpt")
    loaded.load_state_dict(module.state_dict(), strict=True)


def test_trap_3_weight_averaging_before_the_callback_copies_a_digital_module():
    with pytest.raises(ValueError, match="List it after"):
        _fit(EMAWeightAveraging(), AnalogTraining())


def test_trap_4_safe_loading_takes_our_checkpoints(tmp_path):
    _, run = _fit(AnalogTraining(NOISY))
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["callbacks"]


def test_trap_5_two_callbacks_of_one_class_keep_their_states_apart():
    callbacks = [AnalogTraining(include=["net.0"]), AnalogTraining(include=["net.2"])]
    assert callbacks[0].state_key != callbacks[1].state_key


def test_trap_6_chips_are_not_programmed_in_inference_mode():
    module = toy()
    convert_to_analog(module)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="outside inference mode"):
        program_(module, 0)
    program_(module, 0)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="outside inference mode"):
        set_time_(module, 1.0)


@pytest.mark.parametrize("settings", [{"strategy": "aimc"}, FORK])
def test_trap_7_conversion_is_in_place(settings):
    module = toy()
    net = module.net
    _fit(module=module, **settings)
    assert module.net is net
    assert list(analog_layers(module)) == ["net.0", "net.2"]


def test_trap_8_names_are_registered_by_import_and_no_callback_is_forced_on_anyone():
    assert "aimc_ddp" in StrategyRegistry.available_strategies()
    entries = importlib.metadata.entry_points(group="lightning.pytorch.callbacks_factory")
    assert not [entry for entry in entries if entry.value.startswith("aimc_lightning")]


@pytest.mark.parametrize("name", ["aimc", "aimc_ddp", "aimc_ddp_fork"])
def test_trap_9_lightning_takes_compiled_modules_with_our_strategies(name):
    module = toy()
    module._compiler_ctx = {"compiler": "dynamo"}
    _verify_strategy_supports_compile(module, trainer(strategy=name).strategy)


def test_trap_10_sharded_weights_are_refused_rather_than_clipped_by_shard():
    strategy = ModelParallelStrategy(process_group_backend="gloo")
    run = trainer(strategy=strategy)
    with pytest.raises(ValueError, match="a part of a layer's weights"):
        AnalogTraining().setup(run, toy(), "fit")


def test_trap_10_sharded_weights_are_clipped_by_the_spread_of_the_whole_tile():
    weights = []
    for name in ("aimc_ddp_fork", "aimc_fsdp_fork"):
        module, _ = _fit(AnalogTraining(NOISY), strategy=name, devices=2)
        weights.append(module.net[0].weight)
    assert torch.equal(*weights)


class _CompareChips(Callback):
    def on_train_end(self, trainer, pl_module):
        program_(pl_module, seed=0)
        chips = torch.cat([tile.chip.output_scale for tile in analog_tiles(pl_module).values()])
        weights = [tile.chip.weights for tile in analog_tiles(pl_module).values()]
        leaves = [
            w for w in torch.utils._pytree.tree_leaves(weights) if isinstance(w, torch.Tensor)
        ]
        mine = torch.cat([chips.flatten(), *(leaf.detach().flatten() for leaf in leaves)]).float()
        both = [torch.empty_like(mine) for _ in range(trainer.world_size)]
        torch.distributed.all_gather(both, mine)
        if not torch.equal(*both):
            raise RuntimeError("the chips differ")


def test_trap_11_all_processes_programme_the_same_chip():
    _fit(AnalogTraining(NOISY), _CompareChips(), **FORK)


def test_trap_12_set_up_is_paid_once_for_all_chips_and_times():
    class Count(Callback):
        runs = 0

        def setup(self, trainer, pl_module, stage):
            self.runs += 1

    module, count = toy(), Count()
    convert_to_analog(module)
    evaluate_drift(
        trainer(count), module, ToyData(), ("1s", "1d"), 2, metric="test_acc", progress=False
    )
    assert count.runs == 1


def test_trap_13_weights_are_clipped_after_steps_not_after_accumulated_batches(monkeypatch):
    calls = []
    monkeypatch.setattr(steps, "clip_weights_", calls.append)
    _, run = _fit(AnalogTraining(), accumulate_grad_batches=3)
    assert len(calls) == run.global_step == 2

"""Traps of Lightning into which a naive implementation falls.

For each trap a test of what ours does, and one named ``..._naive`` in which the naive
implementation does fall into it: without it, the first would prove nothing.
"""

import copy
import importlib.metadata
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lightning.fabric.utilities import registry
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.plugins import Precision
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from lightning.pytorch.utilities.compile import _verify_strategy_supports_compile

from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.config import ClipConfig, MappingConfig, TileConfig
from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.evaluation.callback import DriftEvaluation
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.integration import callback as callback_module
from aimc_lightning.integration import steps
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import (
    analog_arrays,
    analog_layers,
    analog_tiles,
    clip_weights_,
    program_,
    set_time_,
)
from tests.helpers.processes import NEEDS_FSDP
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

FORK = {"strategy": "aimc_ddp_fork", "devices": 2}


def _fit(*callbacks, module=None, **settings):
    module = toy() if module is None else module
    run = trainer(*callbacks, epochs=1, **settings)
    run.fit(module, ToyData())
    return module, run


@pytest.fixture
def unchecked(monkeypatch):
    """Our callback without its checks at set-up: a naive one."""
    monkeypatch.setattr(callback_module, "check_trainer", lambda *_: None)


def test_trap_1_forked_workers_keep_the_analog_weights():
    with pytest.raises(Exception, match="Use strategy='aimc_ddp_fork'"):
        _fit(AnalogTraining(), strategy="ddp_fork", devices=2)
    module, _ = _fit(AnalogTraining(), **FORK)
    assert all(tile.range_batches > 0 for tile in analog_tiles(module).values())


def test_trap_1_naive_loses_the_analog_weights_without_an_error(unchecked):
    class InWorker(Callback):
        def on_train_end(self, trainer, pl_module):
            assert len(analog_layers(pl_module)) == 2

    module, _ = _fit(AnalogTraining(), InWorker(), strategy="ddp_fork", devices=2)
    assert not analog_layers(module)


def test_trap_2_our_loader_knows_analog_keys_and_lightnings_does_not(tmp_path):
    module, run = _fit(AnalogTraining())
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        Toy.load_from_checkpoint(tmp_path / "a.ckpt")
    loaded = load_from_checkpoint(Toy, tmp_path / "a.ckpt")
    loaded.load_state_dict(module.state_dict(), strict=True)


def test_trap_2_keys_of_weights_are_those_of_the_digital_layers():
    module, digital = toy(), toy(seed=1)
    convert_to_analog(module)
    missing, unexpected = module.load_state_dict(digital.state_dict(), strict=False)
    assert not unexpected
    assert all(".analog.tiles." in key for key in missing)
    assert torch.equal(module.net[2].weight, digital.net[2].weight)
    toy().load_state_dict(convert_to_digital(module).state_dict(), strict=True)


def test_trap_2_naive_prefix_for_weights_loads_no_digital_checkpoint():
    class Wrapped(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

    module = toy()
    module.net[0] = Wrapped(module.net[0])
    with pytest.raises(RuntimeError, match=r"Missing key.*net\.0\.layer\.weight"):
        module.load_state_dict(toy().state_dict(), strict=True)


def test_trap_3_weight_averaging_before_the_callback_copies_a_digital_module():
    with pytest.raises(ValueError, match="List it after"):
        _fit(EMAWeightAveraging(), AnalogTraining())


def test_trap_3_weight_averaging_after_the_callback_works():
    module, _ = _fit(AnalogTraining(), EMAWeightAveraging(decay=0.5))
    assert len(analog_layers(module)) == 2


def test_trap_3_naive_breaks_inside_weight_averaging(unchecked):
    with pytest.raises(RuntimeError, match="must match the size"):
        _fit(EMAWeightAveraging(decay=0.5), AnalogTraining())


def test_trap_4_safe_loading_takes_our_checkpoints(tmp_path):
    _, run = _fit(AnalogTraining(NOISY))
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["callbacks"]


def test_trap_4_naive_dataclass_in_the_state_is_rejected(tmp_path):
    class Naive(AnalogTraining):
        def state_dict(self):
            return {**super().state_dict(), "config": self.tile_config}

    _, run = _fit(Naive(NOISY))
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    with pytest.raises(Exception, match="Unsupported global"):
        torch.load(tmp_path / "a.ckpt", weights_only=True)


def test_trap_5_callbacks_with_other_settings_have_other_keys():
    first, second = AnalogTraining(include=["net.0"]), AnalogTraining(include=["net.2"])
    assert first.state_key != second.state_key
    # Lightning takes both; that the second would convert nothing is said at set-up.
    with pytest.raises(ValueError, match=r"several configs as layers=\{name: config\}"):
        _fit(first, second)


def test_trap_5_naive_key_of_the_class_is_refused_by_lightning():
    class Naive(AnalogTraining):
        state_key = Callback.state_key

    with pytest.raises(RuntimeError, match="more than one stateful callback"):
        trainer(Naive(include=["net.0"]), Naive(include=["net.2"]))


def test_trap_6_chips_are_not_programmed_in_inference_mode():
    module = toy()
    convert_to_analog(module)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="outside inference mode"):
        program_(module, 0)
    program_(module, 0)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="outside inference mode"):
        set_time_(module, 1.0)


def test_trap_6_naive_chip_of_inference_mode_cannot_be_used_later():
    module = toy()
    convert_to_analog(module)
    array, weight = analog_arrays(module.net[0])["weight"]
    with torch.inference_mode():
        array.program_(weight, torch.Generator())  # without the check of program_
    x = torch.zeros(1, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="[Ii]nference tensors cannot"):
        module.eval().net[0](x).sum().backward()


def test_trap_6_training_goes_on_after_drift_was_evaluated_in_trainer_test():
    drift = DriftEvaluation(("1s",), chips=1, metric="test_acc")
    module, run = _fit(AnalogTraining(), drift)
    run.test(module, ToyData(), verbose=False)
    assert drift.results is not None
    assert not any(value.is_inference() for value in module.state_dict().values())
    run.fit_loop.max_epochs = 2
    run.fit(module, ToyData())


@pytest.mark.parametrize("settings", [{"strategy": "aimc"}, FORK])
def test_trap_7_conversion_is_in_place(settings):
    module = toy()
    net = module.net
    _fit(module=module, **settings)
    assert module.net is net
    assert list(analog_layers(module)) == ["net.0", "net.2"]


class _ConvertsACopy(Precision):
    def convert_module(self, module):
        other = copy.deepcopy(module)
        convert_to_analog(other)
        return other


def test_trap_7_naive_conversion_of_a_copy_trains_the_digital_module_under_ddp():
    class InWorker(Callback):
        def on_train_end(self, trainer, pl_module):
            assert not analog_layers(trainer.strategy.model)

    module = toy()
    convert_to_analog(copy.deepcopy(module))  # it could be converted
    _fit(InWorker(), module=module, plugins=[_ConvertsACopy()], strategy="ddp_fork", devices=2)
    assert not analog_layers(module)


def test_trap_8_names_are_registered_by_import_and_no_callback_is_forced_on_anyone():
    assert "aimc_ddp" in StrategyRegistry.available_strategies()
    entries = importlib.metadata.entry_points(group="lightning.pytorch.callbacks_factory")
    assert not [entry for entry in entries if entry.value.startswith("aimc_lightning")]
    assert not [cb for cb in trainer().callbacks if isinstance(cb, AnalogTraining)]


def test_trap_8_naive_entry_point_makes_every_training_analog(monkeypatch):
    entry = SimpleNamespace(name="aimc", load=lambda: AnalogTraining)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [entry])
    module, _ = _fit()
    assert analog_layers(module)  # although nobody asked for it


def test_trap_8_naive_without_registration_the_name_is_unknown():
    registered = dict(StrategyRegistry.items())
    StrategyRegistry.clear()
    try:
        with pytest.raises(ValueError, match="invalid strategy name"):
            trainer(strategy="aimc")
    finally:
        StrategyRegistry.update(registered)


@pytest.mark.parametrize("name", ["aimc", "aimc_ddp", "aimc_ddp_fork"])
def test_trap_9_lightning_takes_compiled_modules_with_our_strategies(name):
    module = toy()
    module._compiler_ctx = {"compiler": "dynamo"}
    _verify_strategy_supports_compile(module, trainer(strategy=name).strategy)


def test_trap_9_naive_strategy_of_its_own_takes_no_compiled_module():
    module = toy()
    module._compiler_ctx = {"compiler": "dynamo"}
    strategy = ModelParallelStrategy(process_group_backend="gloo")
    with pytest.raises(RuntimeError, match="compile"):
        _verify_strategy_supports_compile(module, strategy)


@NEEDS_FSDP
def test_trap_10_sharded_weights_are_refused_rather_than_clipped_by_shard():
    strategy = ModelParallelStrategy(process_group_backend="gloo")
    run = trainer(strategy=strategy)
    with pytest.raises(ValueError, match="a part of a layer's weights"):
        AnalogTraining().setup(run, toy(), "fit")


@pytest.mark.parametrize("kind", ["gaussian", "channel_max"])
def test_trap_10_naive_clipping_of_each_shard_gives_other_weights(kind):
    # One scale for the tile: with one for each column, all columns have the same maximum.
    mapping = MappingConfig(weight_scaling="tile", learn_out_scale="tile")
    config = TileConfig(clip=ClipConfig(type=kind, sigma=1.0), mapping=mapping)
    whole, shards = (torch.nn.Sequential(torch.nn.Linear(6, 8)) for _ in range(2))
    with torch.no_grad():
        whole[0].weight.normal_(generator=torch.Generator().manual_seed(0))
        whole[0].weight[4:] *= 3
    shards.load_state_dict(whole.state_dict())
    halves = [torch.nn.Sequential(torch.nn.Linear(6, 4)) for _ in range(2)]
    for half, rows in zip(halves, shards[0].weight.chunk(2), strict=True):
        half[0].weight.data = rows.data  # what a hook after the step sees on each rank
    for model in (whole, *halves):
        convert_to_analog(model, config)
        clip_weights_(model)
    assert not torch.allclose(whole[0].weight, shards[0].weight)


@NEEDS_FSDP
def test_trap_10_sharded_weights_are_clipped_by_the_spread_of_the_whole_tile():
    weights = []
    for name in ("aimc_ddp_fork", "aimc_fsdp_fork"):
        module, _ = _fit(AnalogTraining(NOISY), strategy=name, devices=2)
        weights.append(module.net[0].weight)
    assert torch.equal(*weights)


class _CompareChips(Callback):
    def __init__(self, draw_seed=lambda: 0):
        self.draw_seed = draw_seed

    def on_train_end(self, trainer, pl_module):
        program_(pl_module, seed=self.draw_seed())
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


def test_trap_11_naive_seed_from_the_training_stream_gives_each_process_another_chip():
    def draw_seed():
        return int(torch.randint(2**31, ()))

    with pytest.raises(Exception, match="the chips differ"):
        _fit(AnalogTraining(NOISY), _CompareChips(draw_seed), **FORK)


class _CompareNoise(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        mine = torch.get_rng_state().float()
        both = [torch.empty_like(mine) for _ in range(trainer.world_size)]
        torch.distributed.all_gather(both, mine)
        if torch.equal(*both):
            raise RuntimeError("the processes draw the same noise")


def test_trap_11_processes_draw_different_training_noise(monkeypatch):
    _fit(AnalogTraining(NOISY), _CompareNoise(), **FORK)
    monkeypatch.setattr("aimc_lightning.integration.resume.separate_ranks", lambda: None)
    with pytest.raises(Exception, match="draw the same noise"):  # naive: generators are forked
        _fit(AnalogTraining(NOISY), _CompareNoise(), **FORK)


class _CountSetUps(Callback):
    def __init__(self):
        self.runs = 0

    def setup(self, trainer, pl_module, stage):
        self.runs += 1


def test_trap_12_set_up_is_paid_once_for_all_chips_and_times():
    module, count = toy(), _CountSetUps()
    convert_to_analog(module)
    evaluate_drift(
        trainer(count), module, ToyData(), ("1s", "1d"), 2, metric="test_acc", progress=False
    )
    assert count.runs == 1


def test_trap_12_naive_test_for_each_chip_and_time_pays_set_up_each_time():
    module, count = toy(), _CountSetUps()
    convert_to_analog(module)
    run = trainer(count)
    for chip in range(2):
        program_(module, chip)
        for time_s in (1.0, 86400.0):
            set_time_(module, time_s, chip)
            run.test(module, ToyData(), verbose=False)
    assert count.runs == 4


def test_trap_13_weights_are_clipped_after_steps_not_after_accumulated_batches(monkeypatch):
    calls = []
    monkeypatch.setattr(steps, "clip_weights_", calls.append)
    _, run = _fit(AnalogTraining(), accumulate_grad_batches=3)
    assert len(calls) == run.global_step == 2


def test_trap_13_naive_clipping_after_each_batch_gives_other_weights():
    class Naive(AnalogTraining):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            clip_weights_(pl_module)
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    weights, config = [], replace(NOISY, clip=ClipConfig(type="gaussian", sigma=1.0))
    for kind in (AnalogTraining, AnalogTraining, Naive):
        torch.manual_seed(0)
        module, _ = _fit(kind(config), accumulate_grad_batches=3)
        weights.append(module.net[0].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])

import pickle
import signal
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    StrategyRegistry,
)
from torch.utils.data import DataLoader, DistributedSampler

import aimc_lightning
from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.config import TileConfig
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.checks import check_trainer
from aimc_lightning.integration.fsdp import AimcFSDPStrategy
from aimc_lightning.integration.launch import ConvertingLauncher
from aimc_lightning.integration.schedule import NoiseSchedule
from aimc_lightning.integration.strategy import AimcDDPStrategy, AimcStrategy
from aimc_lightning.nn.base import analog_layers, analog_tiles
from tests.helpers.processes import NEEDS_FSDP
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

FORK = {"strategy": "aimc_ddp_fork", "devices": 2}
WHERE = ("init", "setup", "configure_model")


def _fit(*callbacks, module=None, ckpt_path=None, epochs=2, data=None, **settings):
    module = toy() if module is None else module
    run = trainer(*callbacks, epochs=epochs, **settings)
    run.fit(module, ToyData() if data is None else data, ckpt_path=ckpt_path)
    return module, run


def test_names_are_registered_once():
    names = ("aimc", "aimc_ddp", "aimc_ddp_fork", "aimc_ddp_spawn", "aimc_ddp_notebook")
    names += ("aimc_fsdp", "aimc_fsdp_fork")
    assert set(names) <= set(StrategyRegistry.available_strategies())
    aimc_lightning.integration.strategy.register_strategies()


@pytest.mark.parametrize("where", WHERE)
def test_strategy_by_name_equals_the_callback_bit_for_bit(where):
    states = []
    for settings in ({"callbacks": [AnalogTraining()]}, {"strategy": "aimc"}):
        torch.manual_seed(1)
        callbacks = settings.pop("callbacks", [])
        module, _ = _fit(*callbacks, module=toy(where), **settings)
        states.append(module.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any("analog" in key for key in states[0])


def test_settings_of_the_strategy_are_used():
    module, run = _fit(strategy=AimcStrategy(NOISY, exclude=["net.2"]))
    layers = analog_layers(module)
    assert list(layers) == ["net.0"]
    assert layers["net.0"].analog.config == NOISY
    run.test(module, ToyData(), verbose=False)
    assert sum(isinstance(cb, AnalogTraining) for cb in run.callbacks) == 1


def test_strategy_without_settings_takes_those_of_the_callback():
    callback = AnalogTraining(NOISY, schedule=NoiseSchedule(ramp=2))
    module, run = _fit(callback, strategy="aimc")
    assert analog_layers(module)["net.0"].analog.config == NOISY
    assert [cb for cb in run.callbacks if isinstance(cb, AnalogTraining)] == [callback]


def test_equal_settings_of_strategy_and_callback_are_allowed():
    module, _ = _fit(AnalogTraining(NOISY), strategy=AimcStrategy(NOISY))
    assert len(analog_layers(module)) == 2


@pytest.mark.parametrize("kind", [AimcStrategy, AimcDDPStrategy])
def test_unequal_settings_of_strategy_and_callback_are_refused_at_set_up(kind):
    module = toy()
    options = {"start_method": "fork"} if kind is AimcDDPStrategy else {}
    strategy = kind(NOISY, **options)
    with pytest.raises(ValueError, match=r"different settings .*the strategy got config"):
        _fit(AnalogTraining(), module=module, strategy=strategy)
    assert not analog_layers(module)


def test_weight_averaging_in_the_list_comes_after_the_callback_that_is_added():
    module, _ = _fit(EMAWeightAveraging(decay=0.5), strategy="aimc")
    assert len(analog_layers(module)) == 2


def test_several_devices_with_aimc_are_refused():
    with pytest.raises(ValueError, match="Use strategy='aimc_ddp'"):
        _fit(strategy="aimc", devices=2)


def test_aimc_runs_on_the_device_of_the_trainer():
    strategy = AimcStrategy()
    strategy.parallel_devices = [torch.device("meta")]
    assert strategy.root_device == torch.device("meta")


def test_second_fit_with_other_settings_is_refused():
    module, _ = _fit(strategy="aimc")
    with pytest.raises(ValueError, match="already analog with another config"):
        _fit(module=module, strategy=AimcStrategy(NOISY))


@pytest.mark.parametrize("kind", [FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy])
def test_strategies_with_cut_up_weights_are_refused_with_reason(kind):
    run = SimpleNamespace(strategy=object.__new__(kind), callbacks=[])
    with pytest.raises(
        ValueError, match=r"column maxima .*Use strategy='aimc_fsdp'.* or 'aimc_ddp'"
    ):
        check_trainer(run, AnalogTraining(), toy(), "fit")


def test_lightnings_launcher_has_the_private_names_in_use():
    strategy = trainer(**FORK).strategy
    assert isinstance(strategy, AimcDDPStrategy)
    assert isinstance(strategy.launcher, ConvertingLauncher)
    assert trainer(strategy="aimc_ddp", devices=2).strategy.launcher is not None


@pytest.mark.parametrize("where", ["init", "configure_model"])
def test_forked_fit_leaves_an_analog_module_with_the_trained_weights(where, tmp_path):
    module = toy(where)
    before = {} if module.net is None else {k: v.clone() for k, v in module.state_dict().items()}
    module, run = _fit(module=module, **FORK)
    assert list(analog_layers(module)) == ["net.0", "net.2"]
    for name, tile in analog_tiles(module).items():
        assert tile.input_range != tile.config.input_range.initial, name
    assert all(not torch.equal(module.state_dict()[key], before[key]) for key in before)
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    loaded = load_from_checkpoint(Toy, tmp_path / "a.ckpt")
    assert list(analog_layers(loaded)) == ["net.0", "net.2"]


def test_forked_fit_of_layers_made_in_setup_is_refused_at_set_up():
    with pytest.raises(ValueError, match="Make layers in __init__ or configure_model"):
        _fit(module=toy("setup"), **FORK)


class _LateHead(Toy):
    def setup(self, stage):
        if not hasattr(self, "head"):
            self.head = torch.nn.Linear(3, 3)

    def forward(self, x):
        return self.head(super().forward(x))


def test_forked_fit_of_one_layer_made_in_setup_is_refused_by_name():
    with pytest.raises(Exception, match=r"head.bias, head.weight: what setup\(\) makes"):
        _fit(module=_LateHead(), **FORK)


class _Threaded(Toy):
    """Computes enough in a step for torch to use all its threads."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + 0 * torch.ones(1_000_000).exp().sum()


@pytest.fixture
def several_threads(monkeypatch):
    """Torch computes with several threads; a process that waits for ever is an error."""

    def give_up(*_):
        raise TimeoutError("the processes do not end")

    threads = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(4)
    torch.ones(1_000_000).exp()  # OpenMP makes its threads
    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(300)  # a second is enough
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "strategy", ["aimc_ddp_fork", pytest.param("aimc_fsdp_fork", marks=NEEDS_FSDP)]
)
def test_forked_fit_after_a_computation_with_several_threads_ends(strategy, several_threads):
    _fit(module=_Threaded(), epochs=1, strategy=strategy, devices=1)


@pytest.mark.slow
def test_spawned_fit_leaves_an_analog_module_with_the_trained_weights():
    module, _ = _fit(strategy="aimc_ddp_spawn", devices=2, epochs=1)
    for tile in analog_tiles(module).values():
        assert tile.input_range != tile.config.input_range.initial


def test_converted_module_can_be_sent_to_a_spawned_process():
    class Stop(Exception):
        pass

    run = trainer(strategy="aimc_ddp_fork", devices=2)
    module = toy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "torch.multiprocessing.start_processes", lambda *_, **__: (_ for _ in ()).throw(Stop)
        )
        with pytest.raises(Stop):
            run.fit(module, ToyData())
    assert list(analog_layers(pickle.loads(pickle.dumps(module)))) == ["net.0", "net.2"]


#: Without noise, and with ranges that do not depend on how a batch is cut: set by no batch, and
#: widened by clipped inputs alone.
QUIET = TileConfig().with_values(
    {
        "noise.output_std": 0.0,
        "noise.read_std": 0.0,
        "weight_noise.type": "none",
        "input_range.init_batches": 0,
        "input_range.initial": 1.0,
        "input_range.decay": 0.0,
        "dac.bits": 24,  # so that rounding cannot change a code noticeably
        "adc.bits": 24,
        "clip.type": "gaussian",
        "clip.sigma": 2.0,
    }
)


class _KeepLosses(Callback):
    """Sends the loss of each step, averaged over processes, to the main process, as metrics."""

    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, *_):
        self.losses.append(trainer.strategy.reduce(outputs["loss"].detach()))

    def on_fit_end(self, trainer, pl_module):
        for index, loss in enumerate(self.losses):
            trainer.callback_metrics[f"loss{index:02}"] = loss


class _Gather(Callback):
    """Sends the repeated inputs of the first layer on all processes to the main one."""

    def on_fit_end(self, trainer, pl_module):
        splitting = next(iter(analog_tiles(pl_module).values())).splitting
        for name in ("copies", "largest"):
            found = [torch.zeros_like(getattr(splitting, name)) for _ in range(2)]
            torch.distributed.all_gather(found, getattr(splitting, name))
            trainer.callback_metrics[name] = torch.stack(found).float()


@pytest.mark.parametrize(
    "kind", [AimcDDPStrategy, pytest.param(AimcFSDPStrategy, marks=NEEDS_FSDP)]
)
def test_processes_repeat_the_same_inputs(kind):
    config = QUIET.with_values({"mapping.split_outliers": True, "input_range.init_batches": 3})
    run = trainer(
        _Gather(),
        strategy=kind(config, start_method="fork"),
        devices=2,
        use_distributed_sampler=False,
        limit_val_batches=0,
    )
    module = _InOrder(2)
    run.fit(module)
    copies, largest = (run.callback_metrics[name] for name in ("copies", "largest"))
    assert torch.equal(copies[0], copies[1])
    assert copies[0].sum() == 2 * len(copies[0])
    inputs = ToyData(samples=160).points.tensors[0][: 3 * 16]  # of three batches, both processes
    torch.testing.assert_close(largest, inputs.abs().amax(0).expand(2, -1))


class _InOrder(Toy):
    """Reads the points in their order with any number of processes.

    Lightning's own sampler shuffles training data as soon as there are two processes.
    """

    def __init__(self, share: int) -> None:
        super().__init__()
        self.share = share

    def train_dataloader(self):
        points = ToyData(samples=160).points
        sampler = DistributedSampler(points, self.share, self.global_rank, shuffle=False)
        return DataLoader(points, batch_size=16 // self.share, sampler=sampler)

    def val_dataloader(self):
        return ToyData().val_dataloader()


@pytest.mark.parametrize(
    "kind", [AimcDDPStrategy, pytest.param(AimcFSDPStrategy, marks=NEEDS_FSDP)]
)
@pytest.mark.parametrize(("clip_norm", "centred"), [(None, False), (0.3, False), (None, True)])
def test_two_processes_follow_one_process_with_the_same_global_batch(kind, clip_norm, centred):
    # Sums over a batch are added in another order, so losses and weights may differ by float32
    # rounding, 1e-4 at most.
    ends, config = [], QUIET
    if centred:  # each process clips about means of its own, until they are averaged
        config = QUIET.with_values({"input_range.centred": True, "input_range.initial": 20.0})
    for strategy, devices in ((AimcStrategy(config), 1), (kind(config, start_method="fork"), 2)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = _InOrder(devices)
        run = trainer(
            _KeepLosses(),
            strategy=strategy,
            devices=devices,
            use_distributed_sampler=False,
            limit_val_batches=0,
            gradient_clip_val=clip_norm,
        )
        run.fit(module)
        ends.append({**module.state_dict(), **run.callback_metrics})
    assert ends[0].keys() == ends[1].keys()
    assert "loss19" in ends[0]
    ranges = [value for name, value in ends[0].items() if name.endswith("input_range")]
    assert len(ranges) == 2
    assert all(value != 1.0 for value in ranges)
    means = [value for name, value in ends[0].items() if name.endswith("centring.mean")]
    assert [bool(mean.any()) for mean in means] == [True, True] * centred
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=0, atol=1e-4, msg=name)

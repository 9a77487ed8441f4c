import os
import signal
import subprocess
import sys

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import nn

from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.fsdp import AimcFSDPStrategy
from aimc_lightning.integration.monitor import AnalogMonitor
from aimc_lightning.integration.schedule import NoiseSchedule
from aimc_lightning.integration.validation import Validation
from aimc_lightning.nn.base import analog_layers
from aimc_lightning.nn.sharded import has_shards, is_sharded
from tests.helpers.processes import NEEDS_FSDP
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, SaveOften, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

pytestmark.append(NEEDS_FSDP)
pytestmark.append(pytest.mark.filterwarnings("ignore:.*checkpoint was written by 1 processes.*"))
pytestmark.append(pytest.mark.filterwarnings("ignore:.*falls between two accumulated batches.*"))
pytestmark.append(pytest.mark.filterwarnings("ignore:.*Grad strides do not match bucket view.*"))

FORK = {"strategy": "aimc_fsdp_fork", "devices": 2}
SCHEDULE = NoiseSchedule(unit="step", noise_free=2, ramp=6)


class _Tied(nn.Module):
    """An attention, a recurrent layer, a norm, a scalar, and a weight that two layers share."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.recurrent = nn.LSTM(8, 5)
        self.norm = nn.BatchNorm1d(5)
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.inner = nn.Linear(5, 5)
        self.again = nn.Linear(5, 5)
        self.again.weight = self.inner.weight
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        x = self.embed(x).unsqueeze(0)
        x = self.recurrent(self.attention(x, x, x)[0])[0].squeeze(0)
        x = self.again(self.inner(self.norm(x)).relu())
        return self.out(x * self.gain)


class _Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 2)
        self.norm = nn.BatchNorm2d(6)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.norm(self.conv(x.view(-1, 1, 2, 2))).flatten(1))


def _module(network=None):
    module = toy()
    if network is not None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            module.net = network()
    return module


def _fit(*callbacks, network=None, ckpt_path=None, analog=None, seed=0, **settings):
    torch.manual_seed(100 + seed)
    module = _module(network)
    run = trainer(analog or AnalogTraining(NOISY, schedule=SCHEDULE), *callbacks, **settings)
    run.fit(module, ToyData(), ckpt_path=ckpt_path)
    return module, run


def _assert_equal(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=0, atol=0, msg=name)


class _IsSharded(Callback):
    """Looks which parameters are cut, while training."""

    def __init__(self, expected):
        self.expected = expected

    def on_train_batch_end(self, trainer, pl_module, *_):
        cut = {name for name, p in pl_module.named_parameters() if is_sharded(p)}
        if cut != self.expected:
            raise RuntimeError(f"sharded: {sorted(cut)}")
        momentum = trainer.optimizers[0].state[pl_module.net[0].weight]["momentum_buffer"]
        if not is_sharded(momentum):
            raise RuntimeError("the optimizer holds whole weights")


def test_analog_weights_are_cut_during_fit_and_whole_after_it():
    cut = {f"net.{layer}.{name}" for layer in (0, 2) for name in ("weight", "bias")}
    before = toy().state_dict()
    module, run = _fit(_IsSharded(cut), **FORK)
    assert isinstance(run.strategy, AimcFSDPStrategy)
    assert list(analog_layers(module)) == ["net.0", "net.2"]
    assert not has_shards(module)
    assert all(not torch.equal(module.state_dict()[name], value) for name, value in before.items())


CLIPPED = {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2}


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        (None, CLIPPED),
        (_Tied, {}),
        pytest.param(_Tied, CLIPPED, marks=pytest.mark.slow),
        pytest.param(_Convolutional, {}, marks=pytest.mark.slow),
    ],
)
def test_sharded_weights_train_as_whole_ones_do_under_ddp(network, settings):
    # The same noise in both, held noise, weight clipping and ranges set from batches included.
    expected, _ = _fit(network=network, strategy="aimc_ddp_fork", devices=2, **settings)
    module, _ = _fit(network=network, **FORK, **settings)
    state, other = expected.state_dict(), module.state_dict()
    assert state.keys() == other.keys()
    for name, value in state.items():
        # DDP sums the squares of the gradient norm in another order.
        torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_clipping_gradients_by_value_works():
    settings = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}
    expected, _ = _fit(strategy="aimc_ddp_fork", devices=2, **settings)
    module, _ = _fit(**FORK, **settings)
    _assert_equal(expected.state_dict(), module.state_dict())


def test_validation_on_chips_and_monitor_give_what_ddp_gives():
    metrics = []
    for strategy in ("aimc_ddp_fork", "aimc_fsdp_fork"):
        analog = AnalogTraining(NOISY, validation=Validation(on=("ideal", "1d")))
        _, run = _fit(AnalogMonitor(), analog=analog, strategy=strategy, devices=2)
        metrics.append({name: float(value) for name, value in run.callback_metrics.items()})
    assert metrics[0] == metrics[1]
    assert {"val_loss@ideal", "val_loss@1d"} <= metrics[0].keys()


def test_checkpoint_is_that_of_one_process(tmp_path):
    checkpoints = []
    for name, settings in (("one", {}), ("two", FORK)):
        _fit(SaveOften(tmp_path / name, hooks=("epoch",)), **settings)
        path = sorted((tmp_path / name).iterdir())[-1]
        assert path.is_file()
        checkpoints.append(torch.load(path, weights_only=True))
    one, two = checkpoints
    assert one.keys() == two.keys()
    for part in ("state_dict", "optimizer_states", "aimc_lightning"):
        (left, kind), (right, other) = map(torch.utils._pytree.tree_flatten, (one[part], two[part]))
        assert kind == other
        assert all(type(a) is type(b) for a, b in zip(left, right, strict=True))
        shapes = [[x.shape for x in side if torch.is_tensor(x)] for side in (left, right)]
        assert shapes[0] == shapes[1]
    module = load_from_checkpoint(Toy, path)
    _assert_equal(two["state_dict"], module.state_dict())


class _Groups(Toy):
    """Two groups whose order is not that of the module's parameters."""

    def configure_optimizers(self):
        bias = [p for p in self.parameters() if p.dim() == 1]
        other = [p for p in self.parameters() if p.dim() != 1]
        return torch.optim.Adam([{"params": bias, "lr": 0.1}, {"params": other}], lr=0.01)


@pytest.mark.parametrize("into", [{}, FORK], ids=["one", "two"])
def test_run_of_one_process_goes_on_with_other_numbers_of_processes(into, tmp_path):
    class See(Callback):
        def on_train_start(self, trainer, pl_module):
            strategy = trainer.strategy
            optimizer = strategy.optimizer_state(trainer.optimizers[0])
            state = [optimizer, strategy.lightning_module_state_dict()]
            if trainer.is_global_zero:
                torch.save(state, tmp_path / "see.pt")

    def fit(*callbacks, path=None, epochs=1, **settings):
        module = _Groups()
        module.load_state_dict(toy().state_dict())
        run = trainer(AnalogTraining(NOISY), *callbacks, epochs=epochs, **settings)
        run.fit(module, ToyData(), ckpt_path=path)
        if path is None:
            run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)

    fit()
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    fit(See(), path=tmp_path / "a.ckpt", epochs=2, **into)
    optimizer, weights = torch.load(tmp_path / "see.pt", weights_only=True)
    _assert_equal(saved["state_dict"], weights)
    (left, kind), (right, other) = map(
        torch.utils._pytree.tree_flatten, (saved["optimizer_states"][0], optimizer)
    )
    assert kind == other
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a, b) if torch.is_tensor(a) else a == b


def test_resumed_run_ends_bit_identical(tmp_path):
    settings = {"val_check_interval": 0.5, **FORK}
    expected, _ = _fit(SaveOften(tmp_path, hooks=("epoch", "val")), epochs=3, **settings)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) >= 6
    for path in paths[1:-1:3]:
        resumed, _ = _fit(ckpt_path=path, seed=5, epochs=3, **settings)
        _assert_equal(expected.state_dict(), resumed.state_dict())


class _Kill(Callback):
    def on_before_optimizer_step(self, trainer, *_):
        if trainer.global_step == 4:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_killed_run_ends_bit_identical_after_resume(tmp_path):
    def saver(folder):
        return ModelCheckpoint(tmp_path / folder, every_n_train_steps=1, save_last=True)

    settings = {"epochs": 4, "accumulate_grad_batches": 2, **FORK}
    expected, _ = _fit(saver("whole"), **settings)
    with pytest.raises(Exception, match="SIGKILL"):
        _fit(saver("killed"), _Kill(), **settings)
    last = tmp_path / "killed" / "last.ckpt"
    resumed, _ = _fit(saver("killed"), ckpt_path=last, seed=5, **settings)
    _assert_equal(expected.state_dict(), resumed.state_dict())


def test_one_device_works_and_equals_aimc(monkeypatch):
    # With the seed of an earlier test the forked process would seed itself anew, this one not.
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    settings = {"use_distributed_sampler": False, "gradient_clip_val": 0.5}
    # Without converters, where the last bit of a sum may decide on a code.
    smooth = NOISY.with_values({"dac.bits": None, "adc.bits": None})
    expected, _ = _fit(analog=AnalogTraining(smooth), strategy="aimc", **settings)
    module, _ = _fit(
        analog=AnalogTraining(smooth), strategy="aimc_fsdp_fork", devices=1, **settings
    )
    state = module.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert not has_shards(module)
    # Lightning refuses modules without this hook; nothing of what stands in for it is left.
    assert "configure_model" not in vars(module)


@pytest.mark.slow
def test_second_run_with_the_same_module_shards_it_again():
    # In this process, so that the module is the same; what is forked later might hang.
    module, run = _fit(strategy="aimc_fsdp", devices=1)
    run.test(module, ToyData(), verbose=False)
    run.validate(module, ToyData(), verbose=False)
    trainer(AnalogTraining(NOISY), strategy="aimc_fsdp", epochs=1).fit(module, ToyData())
    assert not has_shards(module)
    torch.distributed.destroy_process_group()


def test_weight_averaging_is_refused_at_set_up():
    with pytest.raises(ValueError, match=r"averages whole copies .*strategy='aimc_ddp'"):
        _fit(EMAWeightAveraging(decay=0.5), **FORK)


@pytest.mark.filterwarnings("ignore:.*does not support double.*")
def test_precision_that_lightning_does_not_shard_is_refused_at_set_up():
    with pytest.raises(Exception, match=r"precision='64-true' cannot be used"):
        _fit(strategy="aimc_fsdp_fork", devices=1, precision="64-true")


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_other_precisions_train(precision):
    module, run = _fit(precision=precision, **FORK)
    assert run.callback_metrics["val_loss"].isfinite()
    assert module.net[0].weight.isfinite().all()


def test_torch_that_cannot_leave_parameters_out_is_refused(monkeypatch):
    monkeypatch.setattr("torch.distributed.fsdp.fully_shard", lambda module: module)
    with pytest.raises(ImportError, match="needs torch 2.7"):
        AimcFSDPStrategy()


_OWN_SHARDING = """
import sys, warnings, torch
warnings.simplefilter("ignore")
from torch.distributed.fsdp import fully_shard
from aimc_lightning import AnalogTraining, convert_to_analog
from aimc_lightning.nn.sharded import whole
from tests.helpers.processes import NEEDS_FSDP
from tests.helpers.toy import NOISY, Toy, ToyData, trainer

class Own(Toy):
    def configure_model(self):
        if sys.argv[1] == "own" and not hasattr(self, "done"):
            self.done = True
            convert_to_analog(self, NOISY)
            scalars = {p for p in self.parameters() if p.dim() == 0}
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"], ignored_params=scalars)

torch.manual_seed(0)
module = Own()
run = trainer(AnalogTraining(NOISY), strategy="aimc_fsdp", devices=2)
torch.manual_seed(1)
run.fit(module, ToyData())
run.save_checkpoint(sys.argv[2])
run.test(module, ToyData(), verbose=False)
"""


@pytest.mark.slow
def test_script_with_its_own_sharding_trains_as_one_without(tmp_path, root):
    states = []
    for kind in ("ours", "own"):
        result = _script(tmp_path, root, kind, tmp_path / f"{kind}.ckpt")
        assert result.returncode == 0, result.stderr[-3000:]
        states.append(torch.load(tmp_path / f"{kind}.ckpt", weights_only=True)["state_dict"])
    _assert_equal(*states)


def _script(folder, root, *arguments):
    path = folder / "script.py"
    path.write_text(_OWN_SHARDING)
    # Without the place in a process group that an earlier test has left.
    left = ("MASTER_", "RANK")
    environment = {k: v for k, v in os.environ.items() if not any(part in k for part in left)}
    environment["PYTHONPATH"] = str(root)
    command = [sys.executable, str(path), *map(str, arguments)]
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=300
    )

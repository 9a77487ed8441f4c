import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.schedule import NoiseSchedule
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, SaveOften, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

SETTINGS = {
    "every_epoch": {},
    "validation_twice_per_epoch": {"val_check_interval": 0.5},
    "accumulation": {"accumulate_grad_batches": 4, "val_check_interval": 0.5},
    "no_validation": {"limit_val_batches": 0},
}


def _fit(*extra, ckpt_path=None, seed=0, ema=False, workers=0, **settings):
    torch.manual_seed(100 + seed)  # a resumed run starts in another random state
    module = toy(seed=seed)
    analog = AnalogTraining(NOISY, schedule=NoiseSchedule(unit="step", noise_free=2, ramp=6))
    callbacks = [analog, *([EMAWeightAveraging(decay=0.9)] if ema else []), *extra]
    run = trainer(*callbacks, epochs=3, **settings)
    run.fit(module, ToyData(workers=workers), ckpt_path=ckpt_path)
    state = {"weights": module.state_dict(), "optimizer": run.optimizers[0].state_dict()}
    return state, run


def _assert_equal(a, b):
    leaves_a, leaves_b = (torch.utils._pytree.tree_leaves(tree) for tree in (a, b))
    assert len(leaves_a) == len(leaves_b)
    for left, right in zip(leaves_a, leaves_b, strict=True):
        if isinstance(left, torch.Tensor):
            assert torch.equal(left, right)
        else:
            assert left == right


def _resume_from_every(step, name, folder):
    expected, _ = _fit(SaveOften(folder), **SETTINGS[name])
    checkpoints = sorted(folder.iterdir())
    assert len(checkpoints) >= 18
    for path in checkpoints[list(SETTINGS).index(name) % step :: step]:
        resumed, _ = _fit(ckpt_path=path, seed=5, **SETTINGS[name])
        _assert_equal(expected, resumed)


@pytest.mark.parametrize("name", SETTINGS)
def test_resumed_run_ends_bit_identical(name, tmp_path):
    _resume_from_every(6, name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_resumed_run_ends_bit_identical_from_every_checkpoint(name, tmp_path):
    _resume_from_every(1, name, tmp_path)


def test_resumed_run_with_weight_averaging_ends_bit_identical(tmp_path):
    expected, _ = _fit(SaveOften(tmp_path), ema=True, accumulate_grad_batches=2)
    # Not the last one: Lightning averages at the end of training, which a finished run skips.
    for path in sorted(tmp_path.iterdir())[1:-3:7]:
        resumed, _ = _fit(ckpt_path=path, seed=5, ema=True, accumulate_grad_batches=2)
        _assert_equal(expected, resumed)


@pytest.mark.slow
def test_resumed_run_with_loader_workers_ends_bit_identical(tmp_path):
    expected, _ = _fit(SaveOften(tmp_path), workers=2)
    for path in sorted(tmp_path.iterdir())[::4]:
        resumed, _ = _fit(ckpt_path=path, seed=5, workers=2)
        _assert_equal(expected, resumed)


def test_validation_does_not_change_the_trained_weights():
    with_validation, _ = _fit(val_check_interval=0.5)
    without, _ = _fit(limit_val_batches=0)
    _assert_equal(with_validation, without)


def test_noise_is_on_in_these_tests(tmp_path):
    expected, _ = _fit(SaveOften(tmp_path, hooks=("epoch",)))
    path = sorted(tmp_path.iterdir())[0]
    checkpoint = torch.load(path, weights_only=True)
    for state in checkpoint["callbacks"].values():
        state.pop("stream", None)  # the naive implementation keeps no random state
    torch.save(checkpoint, path)
    resumed, _ = _fit(ckpt_path=path, seed=5)
    weight = "net.0.weight"
    assert not torch.equal(expected["weights"][weight], resumed["weights"][weight])


def test_checkpoint_of_another_number_of_processes_warns(tmp_path):
    _fit(SaveOften(tmp_path, hooks=("epoch",)))
    path = sorted(Path(tmp_path).iterdir())[0]
    checkpoint = torch.load(path, weights_only=True)
    for state in checkpoint["callbacks"].values():
        if "stream" in state:
            state["stream"]["now"] *= 2
            state["stream"]["epoch_start"] *= 2
    torch.save(checkpoint, path)
    with pytest.warns(UserWarning, match="written by 2 processes, this run has 1"):
        _fit(ckpt_path=path)


_SCRIPT = """
import os, signal, sys, warnings
import signal
import subprocess
import sys
from pathlib import Path
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.schedule import NoiseSchedule
from tests.helpers.toy import NOISY, ToyData, toy, trainer

class Kill(Callback):
    def on_before_optimizer_step(self, trainer, *_):
        if trainer.global_step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

warnings.simplefilter("ignore")
folder, devices = Path(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(len(sys.argv[3]))
module = toy()
if devices > 1:
    from aimc_lightning.conversion import convert_to_analog
    convert_to_analog(module, NOISY)
schedule = NoiseSchedule(unit="step", noise_free=2, ramp=6)
saver = ModelCheckpoint(folder, every_n_train_steps=1, save_last=True, filename="a")
callbacks = [AnalogTraining(NOISY, schedule=schedule), EMAWeightAveraging(decay=0.9), saver]
if devices == 1:
    callbacks.append(Kill())
torch.manual_seed(0)
last = folder / "last.ckpt"
more = {"strategy": "ddp_fork", "devices": 2} if devices > 1 else {}
run = trainer(*callbacks, epochs=int(sys.argv[4]), accumulate_grad_batches=2, **more)
torch.manual_seed(0 if not last.exists() else 7)
run.fit(module, ToyData(), ckpt_path=last if last.exists() else None)
torch.save(module.state_dict(), folder / "end.pt")
"""


def _run_script(folder, root, *arguments):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", _SCRIPT, str(folder), *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 4, 5, 8])
def test_killed_run_ends_bit_identical_after_resume(step, tmp_path, root):
    whole = _run_script(tmp_path / "whole", root, 1, -1, 3)
    assert whole.returncode == 0, whole.stderr
    killed = _run_script(tmp_path / "killed", root, 1, step, 3)
    assert killed.returncode == -signal.SIGKILL
    resumed = _run_script(tmp_path / "killed", root, 1, -1, 3)
    assert resumed.returncode == 0, resumed.stderr
    _assert_equal(*(torch.load(tmp_path / name / "end.pt") for name in ("whole", "killed")))


@pytest.mark.slow
def test_resumed_run_of_two_processes_ends_bit_identical(tmp_path, root):
    for name, epochs in (("whole", 2), ("parts", 1), ("parts", 2)):
        result = _run_script(tmp_path / name, root, 2, -1, epochs)
        assert result.returncode == 0, result.stderr
    _assert_equal(*(torch.load(tmp_path / name / "end.pt") for name in ("whole", "parts")))

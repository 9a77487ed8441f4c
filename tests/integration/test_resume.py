import multiprocessing
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.schedule import NoiseSchedule
from tests.helpers import killed_run
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, SaveOften, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

SETTINGS = {
    "every_epoch": {},
    "validation_twice_per_epoch": {"val_check_interval": 0.5},
    "accumulation": {"accumulate_grad_batches": 4, "val_check_interval": 0.5},
    "no_validation": {"limit_val_batches": 0},
    "epochs_end_before_steps": {"max_steps": 1000, "val_check_interval": 0.5},
    "steps_end_before_epochs": {"max_steps": 17, "max_epochs": -1, "limit_val_batches": 0},
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


def _resume_twice(name, folder, step):
    expected, _ = _fit(SaveOften(folder / "first"), **SETTINGS[name])
    for first in sorted((folder / "first").iterdir())[::step]:
        again = folder / first.stem
        _fit(SaveOften(again), ckpt_path=first, seed=5, **SETTINGS[name])
        for second in sorted(again.glob("*"))[::step]:
            resumed, _ = _fit(ckpt_path=second, seed=6, **SETTINGS[name])
            _assert_equal(expected, resumed)


def test_run_resumed_in_a_resumed_run_ends_bit_identical(tmp_path):
    # Lightning does not count an epoch that begins with a resume from the last batch before it.
    _resume_twice("accumulation", tmp_path, 7)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_run_resumed_in_a_resumed_run_ends_bit_identical_from_many_checkpoints(name, tmp_path):
    _resume_twice(name, tmp_path, 2)


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


def _kill_and_resume(context, folder, devices, points):
    """Compare runs killed twice, and resumed, with one that was left alone."""
    assert killed_run.run(context, folder / "whole", devices)
    expected = killed_run.end_state(folder / "whole")
    assert expected["global_step"] == 9
    assert {"averaging_state", "current_model_state"} & expected.keys()  # Lightning's names
    for number, point in enumerate(points):
        parts = folder / f"killed {number}"
        assert not killed_run.run(context, parts, devices, kill=point), point
        # Now from a checkpoint in which gradients are accumulated: one batch after a resume,
        # Lightning's ModelCheckpoint writes that of the last step anew.
        assert not killed_run.run(context, parts, devices, kill=point), point
        assert killed_run.run(context, parts, devices), point
        _assert_equal(expected, killed_run.end_state(parts))


@pytest.mark.parametrize("devices", [1, 2])
def test_run_killed_in_the_middle_of_an_epoch_ends_bit_identical(devices, tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # the run sets it
    context = multiprocessing.get_context("fork") if devices == 1 else None
    _kill_and_resume(context, tmp_path, devices, [("on_before_backward", 18)])


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_run_killed_at_ten_random_points_ends_bit_identical(devices, tmp_path):
    context = multiprocessing.get_context("forkserver")  # nothing is left of earlier runs
    context.set_forkserver_preload([killed_run.__name__])
    points = killed_run.random_points(10, seed=devices)
    assert len(set(points)) == 10
    _kill_and_resume(context, tmp_path, devices, points)


@pytest.mark.slow
def test_run_with_sharded_weights_killed_at_ten_random_points_ends_bit_identical(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([killed_run.__name__])
    points = killed_run.random_points(10, seed=3)
    assert len(set(points)) == 10
    assert killed_run.run(context, tmp_path / "whole", 2, strategy="aimc_fsdp_fork")
    expected = killed_run.end_state(tmp_path / "whole")
    assert expected["global_step"] == 9
    for number, point in enumerate(points):
        # Killed once: sharded gradients that are being accumulated are not kept, see above.
        parts = tmp_path / f"killed {number}"
        for kill in (point, None):
            ended = killed_run.run(context, parts, 2, kill=kill, strategy="aimc_fsdp_fork")
            assert ended == (kill is None), point
        _assert_equal(expected, killed_run.end_state(parts))

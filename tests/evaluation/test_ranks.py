import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, DistributedSampler

from aimc_lightning.checkpoint import load_from_checkpoint
from aimc_lightning.config import InputRangeConfig, TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation import measure
from aimc_lightning.evaluation.callback import DriftEvaluation
from aimc_lightning.evaluation.rows import RowFile
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_tiles
from tests.helpers.processes import NEEDS_FSDP
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, Toy, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

FORK = {"strategy": "aimc_ddp_fork", "devices": 2}
SHARDED = {"strategy": "aimc_fsdp_fork", "devices": 2}


#: Input ranges that no batch of training sets.
STEADY = TileConfig(input_range=InputRangeConfig(init_batches=0))


class _Still(Toy):
    """Trains without moving, so that every number of processes ends with the same weights."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class _Synced(Toy):
    """Logs as a distributed script does: averaged over processes."""

    def test_step(self, batch, batch_idx):
        loss, accuracy = self._loss(batch)
        self.log_dict({"test_loss": loss, "test_acc": accuracy}, sync_dist=True)


def _rows(samples, module=None, csv_path=None, run=None, **settings):
    if module is None:
        module = _Synced()
        module.load_state_dict(toy().state_dict())
        convert_to_analog(module)
    return evaluate_drift(
        run or trainer(**settings),
        module,
        ToyData(samples=samples),
        ("1s", "1d"),
        3,
        metric="test_loss",
        chance=9.0,
        progress=False,
        csv_path=csv_path,
    ).rows


@pytest.mark.parametrize(
    ("samples", "settings"), [(64, FORK), (61, FORK), pytest.param(61, SHARDED, marks=NEEDS_FSDP)]
)
def test_two_processes_give_exactly_the_rows_of_one(samples, settings, tmp_path):
    alone = _rows(samples)
    shared = _rows(samples, csv_path=tmp_path / "rows.csv", **settings)
    assert shared == alone
    assert len({row.value for row in alone}) == 6
    written = [row for row in RowFile(tmp_path / "rows.csv").rows if row.stage == "hwa"]
    assert sorted(written, key=lambda row: row.key) == sorted(alone, key=lambda row: row.key)


_SCRIPT = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from aimc_lightning import AnalogTraining
from tests.evaluation.test_ranks import _Synced, _rows
from tests.helpers.toy import NOISY, ToyData, trainer

module = _Synced()
run = trainer(AnalogTraining(NOISY), epochs=1, strategy="aimc_ddp", devices=2)
run.fit(module, ToyData())
run.save_checkpoint(sys.argv[1])
rows = _rows(61, module=module, run=run)
if run.is_global_zero:
    Path(sys.argv[2]).write_text(json.dumps([run.world_size, *map(vars, rows)]))
"""


@pytest.mark.slow
def test_script_with_aimc_ddp_trains_and_gives_exactly_the_rows_of_one_process(tmp_path, root):
    (tmp_path / "script.py").write_text(_SCRIPT)
    # Without the address of a process group that an earlier test has left.
    environment = {key: value for key, value in os.environ.items() if "MASTER_" not in key}
    environment |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    paths = [str(tmp_path / name) for name in ("script.py", "end.ckpt", "rows.json")]
    result = subprocess.run(
        [sys.executable, *paths], cwd=root, env=environment,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    processes, *shared = json.loads((tmp_path / "rows.json").read_text())
    assert processes == 2
    module = load_from_checkpoint(_Synced, tmp_path / "end.ckpt")
    assert not torch.equal(module.net[0].weight, _Synced().net[0].weight)
    assert shared == json.loads(json.dumps([vars(row) for row in _rows(61, module=module)]))


def test_each_process_measures_its_own_chips(tmp_path, monkeypatch):
    original = measure.program_

    def note(module, seed):
        original(module, seed)
        with (tmp_path / os.environ["LOCAL_RANK"]).open("a") as file:
            file.write(f"{seed}\n")

    monkeypatch.setattr(measure, "program_", note)
    _rows(20, **FORK)
    seeds = [(tmp_path / rank).read_text().split() for rank in ("0", "1")]
    expected = [str(measure.chip_seed(0, chip)) for chip in range(3)]
    assert seeds == [[expected[0], expected[2]], [expected[1]]]


@pytest.mark.parametrize("settings", [FORK, pytest.param(SHARDED, marks=NEEDS_FSDP)])
def test_digital_module_stays_digital_until_it_is_mapped_when_the_strategy_is_ours(settings):
    assert _rows(20, module=toy(), **settings) == _rows(20, module=toy())


@NEEDS_FSDP
def test_evaluation_at_the_end_of_a_fit_of_two_processes_uses_the_whole_data():
    results = []
    for settings in ({}, FORK, SHARDED):
        module = _Still()
        module.load_state_dict(toy().state_dict())
        drift = DriftEvaluation(times=("1s",), chips=2, metric="val_loss", chance=9.0, when="fit")
        keep = _KeepRows(drift)
        run = trainer(AnalogTraining(STEADY), drift, keep, epochs=1, **settings)
        run.fit(module, ToyData(samples=61))
        results.append({k: float(v) for k, v in run.callback_metrics.items() if "row" in k})
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 2


class _KeepRows(Callback):
    """Sends the rows from the worker to the main process, as metrics."""

    def __init__(self, drift):
        self.drift = drift

    def on_fit_end(self, trainer, pl_module):
        for index, row in enumerate(self.drift.results.rows):
            trainer.callback_metrics[f"row{index}"] = torch.tensor(row.value, dtype=torch.float64)


def test_loader_with_its_own_distributed_sampler_is_refused(tmp_path):
    module = toy()
    convert_to_analog(module)
    points = ToyData().points
    loader = DataLoader(points, 16, sampler=DistributedSampler(points, 2, 0))
    with pytest.raises(Exception, match="give a loader without it"):
        evaluate_drift(
            trainer(**FORK),
            module,
            loader,
            ("1s",),
            1,
            metric="test_acc",
            csv_path=tmp_path / "rows.csv",
        )
    assert not (tmp_path / "rows.csv").exists()


class _SameChip(Callback):
    """Programmes a chip in each process and compares its conductances over the processes."""

    def on_train_end(self, trainer, pl_module):
        measure.program_(pl_module, seed=3)
        digest = hashlib.sha256()
        for tile in analog_tiles(pl_module).values():
            for value in torch.utils._pytree.tree_leaves(vars(tile.chip)):
                if isinstance(value, torch.Tensor):
                    digest.update(value.detach().double().numpy().tobytes())
            for value in tile.chip.buffers() if isinstance(tile.chip, torch.nn.Module) else ():
                digest.update(value.double().numpy().tobytes())
        measure.unprogram_(pl_module)
        hashes = [None] * trainer.world_size
        torch.distributed.all_gather_object(hashes, digest.hexdigest())
        if len(set(hashes)) != 1 or digest.digest() == hashlib.sha256().digest():
            raise RuntimeError(f"the chips differ: {hashes}")


class _OtherNoise(Callback):
    """Compares the held noise of the processes while they train."""

    def on_before_backward(self, trainer, pl_module, loss):
        held = next(iter(analog_tiles(pl_module).values()))._held.detach()
        both = [torch.empty_like(held) for _ in range(trainer.world_size)]
        torch.distributed.all_gather(both, held)
        if torch.equal(*both):
            raise RuntimeError("the noise is the same")


@pytest.mark.parametrize("settings", [FORK, pytest.param(SHARDED, marks=NEEDS_FSDP)])
def test_processes_draw_other_noise_in_training_and_programme_the_same_chip(settings):
    trainer(AnalogTraining(NOISY), _SameChip(), _OtherNoise(), epochs=1, **settings).fit(
        toy(), ToyData()
    )

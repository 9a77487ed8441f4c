"""What each combination of a Trainer's settings does, and the record that docs/lightning.md shows.

``python -m tests.helpers.matrix 0 4`` runs a quarter of the combinations and updates the record.
"""

import csv
import hashlib
import itertools
import json
import math
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import Tensor

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_layers
from tests.helpers.toy import Toy, ToyData, trainer

RECORD = Path(__file__).resolve().parents[2] / "docs" / "tools" / "lightning_matrix.csv"
EPOCHS, BATCHES = 2, 5
STAGES = ("fit", "resume", "validate", "test")
WORKS = "works"
#: With the callback or without, the Trainer's strategy, its processes. Those of ``ddp``,
#: ``aimc_ddp`` and ``aimc_fsdp`` are started as torchrun does it.
WAYS = (
    (True, "auto", 1),
    (False, "aimc", 1),
    (True, "ddp", 2),
    (True, "ddp_fork", 2),
    (False, "aimc_ddp", 2),
    (False, "aimc_ddp_fork", 2),
    (False, "aimc_fsdp", 2),
)
Outcome = dict[str, str]


class Combination(NamedTuple):
    """Settings of a run; ``layers`` is the hook in which the module makes its layers."""

    callback: bool
    strategy: str
    processes: int
    precision: str
    layers: str
    accumulate: int
    ema: bool

    def __str__(self) -> str:
        analog, ema = "callback" if self.callback else "strategy", "ema" if self.ema else "no_ema"
        return "-".join((analog, *map(str, self[1:-1]), ema))


def combinations() -> list[Combination]:
    """Return all of them."""
    where = ("init", "setup", "configure_model")
    axes = itertools.product(WAYS, ("32-true", "bf16-mixed"), where, (1, 4), (False, True))
    return [Combination(*way, *settings) for way, *settings in axes]


class _Module(Toy):
    """Averages its metrics over processes, as a distributed script does, and keeps its losses."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.losses: list[Tensor] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.detach())
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, accuracy = self._loss(batch)
        self.log_dict({"val_loss": loss, "val_acc": accuracy}, sync_dist=True)

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, accuracy = self._loss(batch)
        self.log_dict({"test_loss": loss, "test_acc": accuracy}, sync_dist=True)


class _Watch(Callback):
    """Looks at what only the processes that train know, and seeds each evaluation alike."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        losses = torch.stack(pl_module.losses)
        assert losses.isfinite().all()
        assert len(losses) == self.batches
        if trainer.strategy.__class__.__name__ != "AimcFSDPStrategy":  # whole only after fit
            _assert_same_on_ranks(_digest(pl_module))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            torch.manual_seed(7 + trainer.global_rank)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        assert len(metrics) == 2
        assert all(map(math.isfinite, metrics.values()))
        _assert_same_on_ranks(metrics)

    on_test_start, on_test_end = on_validation_start, on_validation_end


def _digest(module: LightningModule) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.detach().double().numpy().tobytes())
    return digest.hexdigest()


def _assert_same_on_ranks(value: Any) -> None:
    if torch.distributed.is_initialized():
        values: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(values, value)
        assert all(other == value for other in values), values


class _Run:
    """The four stages of a combination, in one of its processes."""

    def __init__(self, combination: Combination, folder: Path) -> None:
        self.c, self.folder = combination, folder
        self.steps = EPOCHS * math.ceil(BATCHES / self.c.accumulate)
        self.data = ToyData(samples=8 * BATCHES * self.c.processes)
        self.checkpoints = folder / "fit"
        self.module: _Module | None = None
        self.val_loss: float | None = None

    def outcome(self) -> Outcome:
        """Return what each stage did: that it worked, or why it was refused."""
        stages = (self.fit, self.resume, self.validate, self.test)
        return {stage.__name__: _attempt(stage) for stage in stages}

    def _new(self, batches: int = EPOCHS * BATCHES, folder: str = "other") -> Trainer:
        c = self.c
        callbacks: list[Callback] = [AnalogTraining()] if c.callback else []
        callbacks += [EMAWeightAveraging(decay=0.9)] if c.ema else []
        path = self.folder / folder
        save = ModelCheckpoint(path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
        return trainer(
            *callbacks, _Watch(batches), save, epochs=EPOCHS, strategy=c.strategy,
            devices=c.processes, precision=c.precision, accumulate_grad_batches=c.accumulate,
        )  # fmt: skip

    def _last(self, folder: str) -> dict[str, Any]:
        return torch.load(self.folder / folder / f"step={self.steps}.ckpt", weights_only=True)

    def fit(self) -> None:
        self.checkpoints = self.folder / "reference"
        torch.manual_seed(1)
        module = _Module(self.c.layers)
        self._new(folder="fit").fit(module, self.data)
        self.module, self.checkpoints = module, self.folder / "fit"
        assert list(analog_layers(module)) == ["net.0", "net.2"]
        assert all(value.isfinite().all() for value in module.state_dict().values())
        last = self._last("fit")
        first = torch.load(self.checkpoints / "step=1.ckpt", weights_only=True)
        assert last["global_step"] == self.steps
        assert ("current_model_state" in last) == self.c.ema
        for name in ("net.0.weight", "net.2.weight"):
            assert not torch.equal(first["state_dict"][name], last["state_dict"][name])
        _assert_same_on_ranks(_digest(module))

    def resume(self) -> None:
        torch.manual_seed(2)
        module = _Module(self.c.layers)
        middle = self.steps * 3 // 4  # inside the second epoch
        batches = EPOCHS * BATCHES - BATCHES - (middle - self.steps // 2) * self.c.accumulate
        path = self.checkpoints / f"step={middle}.ckpt"
        self._new(batches, "resume").fit(module, self.data, ckpt_path=path)
        assert self.module is not None
        assert _digest(module) == _digest(self.module)
        expected, last = self._last("fit"), self._last("resume")
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "current_model_state"):
            _assert_equal(expected.get(part), last.get(part))

    def validate(self) -> None:
        module = _Module(self.c.layers) if self.module is None else self.module
        before = _digest(module)
        (metrics,) = self._new().validate(module, self.data, verbose=False)
        assert self.module is None or _digest(module) == before
        self.val_loss = metrics["val_loss"]

    def test(self) -> None:
        torch.manual_seed(3)
        path = self.checkpoints / f"step={self.steps}.ckpt"
        module = _Module(self.c.layers)
        (metrics,) = self._new().test(module, self.data, ckpt_path=path, verbose=False)
        # The same points, the same noise, and the weights of the checkpoint.
        assert self.module is None or metrics["test_loss"] == self.val_loss


def _assert_equal(a: Any, b: Any) -> None:
    (left, kind), (right, other) = map(torch.utils._pytree.tree_flatten, (a, b))
    assert kind == other
    for one, two in zip(left, right, strict=True):
        assert torch.equal(one, two) if isinstance(one, Tensor) else one == two


def _attempt(stage: Callable[[], None]) -> str:
    """Return why a stage was refused at set-up; any other error is raised."""
    try:
        stage()
    except Exception as error:
        text = "".join(traceback.format_exception(error))  # with that of a forked process
        reasons = re.findall(r"^ValueError: (.+)$", text, re.MULTILINE)
        if not reasons or "training_step" in text or "AssertionError" in text:
            raise
        return reasons[-1]
    return WORKS


def _process(rank: int, combination: Combination, folder: Path, port: int | None) -> None:
    environment = {"OMP_NUM_THREADS": "1"}
    if port is not None:  # as torchrun does
        torch.set_num_threads(1)  # the threads of the process that forked are not here
        ranks = str(combination.processes)
        environment |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0",
            "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "matrix",
        }  # fmt: skip
    with mock.patch.dict(os.environ, environment), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ.pop("PL_GLOBAL_SEED", None)
        outcome = _Run(combination, folder).outcome()
    (folder / f"rank{rank}.json").write_text(json.dumps(outcome))


def run(combination: Combination, folder: Path) -> Outcome:
    """Return what each stage of a combination does; an error that is no refusal is raised.

    Args:
        combination: Settings.
        folder: Empty folder for checkpoints.
    """
    forks = combination.strategy.endswith("fork")
    folder.mkdir(exist_ok=True)
    late = combination.layers == "setup" and (combination.ema or forks)
    whole = combination.ema and combination.strategy == "aimc_fsdp"
    # Where fit is refused, the stages behind it need a checkpoint of another run.
    if late or whole or combination.strategy == "ddp_fork":
        one = combination._replace(callback=True, strategy="auto", processes=1, ema=False)
        run(one, folder / "one")
        (folder / "one" / "fit").rename(folder / "reference")
    if forks or combination.processes == 1:
        _process(0, combination, folder, None)  # a forked process must not fork
    else:
        arguments = (combination, folder, find_free_network_port())
        torch.multiprocessing.start_processes(_process, arguments, 2, start_method="fork")
    first, *others = [json.loads(path.read_text()) for path in folder.glob("rank*.json")]
    assert all(other == first for other in others), others
    return first


def stored() -> dict[Combination, Outcome]:
    """Return the record."""
    with RECORD.open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_name = {str(combination): combination for combination in combinations()}
    return {by_name[row["combination"]]: {s: row[s] for s in STAGES} for row in rows}


def main(piece: int = 0, pieces: int = 1) -> None:
    """Run every ``pieces``-th combination and put what it did into the record."""
    torch.set_num_threads(1)
    versions = {"torch": torch.__version__.partition("+")[0], "lightning": lightning.__version__}
    rows: dict[str, dict[str, str]] = {}
    if RECORD.exists():
        with RECORD.open(newline="") as file:
            rows = {row["combination"]: row for row in csv.DictReader(file)}
    for combination in combinations()[piece::pieces]:
        with tempfile.TemporaryDirectory() as folder:
            name = str(combination)
            rows[name] = {"combination": name, **run(combination, Path(folder)), **versions}
            print(name, flush=True)
    with RECORD.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["combination", *STAGES, *versions], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[str(c)] for c in combinations() if str(c) in rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

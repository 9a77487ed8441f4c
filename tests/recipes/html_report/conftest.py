"""A finished run, put together without training."""

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors.torch import save_file

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.rows import DriftRow, write_rows
from aimc_lightning.integration.module_hooks import install_checkpoint_hooks
from aimc_lightning.recipes.run_folder import RunFolder
from aimc_lightning.zoo.registry import get_model

IDENTITY = {
    "recipe": "resnet8_digits", "recipe files": "0", "seed": 7, "chips": 3, "data": None,
    "weights": None, "settings": ["hwa.trainer.max_epochs=1"],
}  # fmt: skip
TIMES = {1.0: 0.0, 3600.0: 0.001, 31536000.0: 0.004}


def make_run(path, hwa=0.985, stages=("digital", "direct", "hwa")):
    """Write a run whose directly mapped network loses ten times what the retrained one does."""
    folder = RunFolder.open(path, IDENTITY, resume=False)
    command = ["aimc-lightning", "run", "resnet8_digits", "--seed", "7"]
    folder.start_session({"python": "3", "torch": "2"}, "2 CPU cores", command)
    if "digital" in stages:
        (path / "digital").mkdir()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = get_model("resnet8_digits")
        save_file(module.network.state_dict(), path / "digital/weights.safetensors")
        folder.finish_stage("digital", {"score": 0.99, "seconds": 1.0})
    rows = []
    for stage, start, factor in (("direct", 0.98, 10), ("hwa", hwa, 1)):
        if stage in stages:
            rows += [
                DriftRow(stage, chip, t, "test_acc", start - factor * loss + chip / 1e4, 7, "f")
                for chip in range(3)
                for t, loss in TIMES.items()
            ]
            folder.finish_stage(stage, {"chips": 3, "seconds": 2.0})
    if rows:
        write_rows(path / "drift.csv", rows)
    if "hwa" in stages:
        _save_trained(module, path)
    return path


def _save_trained(module, path):
    convert_to_analog(module)
    install_checkpoint_hooks(module, None, ())
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    (path / "hwa").mkdir()
    trainer.save_checkpoint(path / "hwa/trained.ckpt")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Folder of a finished run."""
    pytest.importorskip("sklearn")
    return make_run(tmp_path_factory.mktemp("runs") / "good")


@pytest.fixture(scope="session")
def unfinished(tmp_path_factory):
    """Folder of a run that only trained the digital network."""
    return make_run(tmp_path_factory.mktemp("runs") / "begun", stages=("digital",))

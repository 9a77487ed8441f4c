"""Data and short settings for every recipe."""

import pytest
import torch
from safetensors.torch import save_file

from aimc_lightning.recipes.catalog import STAGES
from aimc_lightning.zoo.registry import get_model
from tests.helpers.cifar10 import label_by, write_cifar10
from tests.helpers.mnist import write_mnist
from tests.helpers.text import write_text

LANGUAGE = ("lstm_charlm", "lstm_ptb", "lstm_ptb_small", "lstm_wikitext2")
# One batch is enough for the plumbing, but a digital network has to be better than chance.
SHORT = {
    "resnet8_digits": {
        "digital": ("max_epochs=3",),
        "hwa": ("max_epochs=1", "limit_train_batches=1", "limit_val_batches=1"),
        "drift": ("limit_test_batches=1",),
    },
    "resnet32_cifar10": {
        "hwa": ("max_epochs=1", "limit_train_batches=1", "limit_val_batches=1"),
        "drift": ("limit_test_batches=1",),
    },
    "mlp_mnist": {
        "digital": ("max_epochs=3",),
        "hwa": ("max_epochs=1", "limit_train_batches=1", "limit_val_batches=1"),
        "drift": ("limit_test_batches=1",),
    },
}
for name in LANGUAGE:
    SHORT[name] = {
        "digital": ("max_epochs=1", "limit_train_batches=4", "limit_test_batches=1"),
        "hwa": ("max_epochs=1", "limit_train_batches=1", "limit_val_batches=1"),
        "drift": ("limit_test_batches=1",),
    }
PARTS = ("train", "valid", "test")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Arguments of the data, by recipe: synthetic, or embedded in the recipe."""
    pytest.importorskip("sklearn")
    pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("data")
    cifar10 = write_cifar10(folder / "cifar10", train=24, test=8)
    write_mnist(folder, train=400, test=100)
    write_text(folder / "ptb" / "ptb.zip", [f"ptb.{part}.txt" for part in PARTS], words=1500)
    wiki = folder / "wikitext2" / "wikitext-2-v1.zip"
    write_text(wiki, [f"wiki.{part}.tokens" for part in PARTS], words=1500)
    return {
        "resnet8_digits": {},
        "resnet32_cifar10": {"data_dir": str(cifar10), "val_size": 8, "batch_size": 8},
        "mlp_mnist": {"data_dir": str(folder), "val_size": 100},
        "lstm_charlm": {},
        **{name: {"data_dir": str(folder)} for name in LANGUAGE[1:]},
    }


@pytest.fixture(scope="session")
def weights(data, tmp_path_factory):
    """New weights of resnet32_cifar10; the synthetic test images get the labels it predicts."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = get_model("resnet32_cifar10").eval()
    path = tmp_path_factory.mktemp("weights") / "new.safetensors"
    save_file(module.network.state_dict(), path)
    label_by(module, data["resnet32_cifar10"]["data_dir"])
    return path


@pytest.fixture
def short_run(data, weights, tmp_path):
    """Arguments of a run as short as can be, on one chip."""

    def arguments(name):
        settings = [
            f"{stage}.trainer.{value}" for stage, values in SHORT[name].items() for value in values
        ]
        found = dict(data[name])
        folder = found.pop("data_dir", None)
        for stage in STAGES:
            settings += [f"{stage}.data.init_args.{key}={value}" for key, value in found.items()]
        out = ["run", name, "--chips", "1", "--out", str(tmp_path / "run"), "--traceback"]
        if folder is not None:
            out += ["--data", folder]
        if name == "resnet32_cifar10":
            out += ["--weights", str(weights)]
        return out + [part for setting in settings for part in ("--set", setting)]

    return arguments

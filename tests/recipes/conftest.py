"""Data and short settings for every recipe."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aimc_lightning.recipes.catalog import STAGES
from aimc_lightning.zoo.registry import get_model
from tests.helpers.cifar10 import label_by, write_cifar10
from tests.helpers.mnist import write_mnist
from tests.helpers.speech import label_by as transcribe_by
from tests.helpers.speech import save_weights, write_features, write_spoken_digits
from tests.helpers.text import write_text

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
    "lstm_ptb_small": {
        "digital": ("max_epochs=1",),
        "hwa": ("max_epochs=1", "limit_train_batches=1", "limit_val_batches=1"),
        "drift": ("limit_test_batches=1",),
    },
}
# These begin with weights that are no worse than chance, see save_weights.
SPEECH = ("lstm_hmm_swb300", "lstm_speech_digits", "rnnt_speech_digits", "rnnt_swb300")
for _name in SPEECH:
    SHORT[_name] = {
        "hwa": ("max_epochs=1", "limit_train_batches=1", "limit_val_batches=1"),
        "drift": ("limit_test_batches=1",),
    }
FEATURES = {"lstm_hmm_swb300": "swb300_hmm", "rnnt_swb300": "swb300_rnnt"}
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
    write_spoken_digits(folder)
    write_features(folder / "swb300_hmm", 140, range(32_000), per_frame=True)
    write_features(folder / "swb300_rnnt", 340, range(1, 46), per_frame=False)
    features = {"data_dir": str(folder), "cache_dir": str(folder / "cache")}
    return {
        "resnet8_digits": {},
        "resnet32_cifar10": {"data_dir": str(cifar10), "val_size": 8, "batch_size": 8},
        "mlp_mnist": {"data_dir": str(folder), "val_size": 100},
        "lstm_ptb_small": {"data_dir": str(folder)},
        "lstm_speech_digits": {"data_dir": str(folder)},
        "rnnt_speech_digits": {"data_dir": str(folder)},
        "lstm_hmm_swb300": features,
        "rnnt_swb300": features,
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
def speech_weights(data, tmp_path):
    """Function that writes weights of a speech entry; Switchboard's symbols become its own."""

    def write(name):
        path = tmp_path / "new.safetensors"
        module = save_weights(name, path)
        folder = Path(data[name]["data_dir"], FEATURES.get(name, ""))
        if name in FEATURES:
            transcribe_by(module, folder / "test-0.parquet")
        return path

    return write


@pytest.fixture
def short_run(data, weights, speech_weights, tmp_path):
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
        if name in SPEECH:
            out += ["--weights", str(speech_weights(name))]
        return out + [part for setting in settings for part in ("--set", setting)]

    return arguments

"""Data and short settings for every recipe."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aimc_lightning.recipes.catalog import STAGES
from aimc_lightning.zoo.registry import get_model, list_models
from tests.helpers.cifar10 import write_cifar10
from tests.helpers.entries import GLUE, LANGUAGE, SPEECH
from tests.helpers.glue import write_glue, write_tokenizer
from tests.helpers.imagenet import write_imagenet
from tests.helpers.mnist import write_mnist
from tests.helpers.speech import label_by as transcribe_by
from tests.helpers.speech import save_weights, write_features, write_spoken_digits
from tests.helpers.text import write_text
from tests.helpers.torch_hub import write_pretrained

# One batch is enough for the plumbing, but a digital network has to be better than chance: it is
# trained, or starts from weights that say the first class of all images or know all transcripts.
ONE_BATCH = {
    "hwa": ("max_epochs=1", "limit_train_batches=1", "limit_val_batches=1"),
    "drift": ("limit_test_batches=1",),
}
FIRST_CLASS = ("resnet20_cifar10", "resnet32_cifar10", "wideresnet16_cifar100")
IMAGENET = tuple(name for name in list_models() if name.endswith("_imagenet"))
SHORT = {
    **dict.fromkeys((*FIRST_CLASS, *IMAGENET, *GLUE, *SPEECH), ONE_BATCH),
    "resnet8_digits": {
        "digital": ("max_epochs=3",),
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
        "digital": ("max_epochs=1", "limit_train_batches=4"),
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
    write_cifar10(folder / "cifar10", train=24, test=8)
    write_cifar10(folder / "cifar100", 24, 8, ("fine_label", "coarse_label"))
    imagenet = write_imagenet(folder / "imagenet", train=8, val=4)
    write_mnist(folder, train=400, test=100)
    write_text(folder / "ptb" / "ptb.zip", [f"ptb.{part}.txt" for part in PARTS], words=1500)
    small = {"val_size": 2, "batch_size": 4, "num_workers": 0}
    wiki = folder / "wikitext2" / "wikitext-2-v1.zip"
    write_text(wiki, [f"wiki.{part}.tokens" for part in PARTS], words=1500)
    write_spoken_digits(folder)
    write_features(folder / "swb300_hmm", 140, range(32_000), per_frame=True)
    write_features(folder / "swb300_rnnt", 340, range(1, 46), per_frame=False)
    write_glue(folder, ["rte"], test_label=0)
    tokenizer = write_tokenizer(folder / "tokenizer")
    glue = {"data_dir": str(folder), "tokenizer": str(tokenizer), "batch_size": 4}
    features = {"data_dir": str(folder), "cache_dir": str(folder / "cache")}
    return {
        "resnet8_digits": {},
        **{name: {"data_dir": str(folder), "val_size": 8, "batch_size": 8} for name in FIRST_CLASS},
        **{name: {"data_dir": str(imagenet), **small} for name in IMAGENET},
        **dict.fromkeys(GLUE, glue),
        "mlp_mnist": {"data_dir": str(folder), "val_size": 100},
        "lstm_charlm": {},
        **{name: {"data_dir": str(folder)} for name in LANGUAGE[1:]},
        "lstm_speech_digits": {"data_dir": str(folder)},
        "rnnt_speech_digits": {"data_dir": str(folder)},
        "lstm_hmm_swb300": features,
        "rnnt_swb300": features,
    }


@pytest.fixture
def weights(tmp_path):
    """Function that returns a file of new weights that say the first class of all images."""

    def write(name):
        state = _first_class(get_model(name))
        path = tmp_path / "new.safetensors"
        save_file(state, path)
        return path

    return write


@pytest.fixture
def pretrained(tmp_path):
    """Function that puts such weights where torchvision looks before it downloads its own."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))

    def write(name):
        if name in IMAGENET:
            module = get_model(name)
            write_pretrained(module.architecture, _first_class(module))

    yield write
    torch.hub.set_dir(before)


def _first_class(module):
    state = module.network.state_dict()
    last = list(state)[-1]
    assert state[last].shape == state[last.replace("bias", "weight")].shape[:1]
    state[last][0] = 1000.0
    return state


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
def short_run(data, weights, pretrained, speech_weights, tmp_path):
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
        if name in GLUE:
            out += ["--task", "rte"]
        if name in (*FIRST_CLASS, *GLUE):
            out += ["--weights", str(weights(name))]
        if name in SPEECH:
            out += ["--weights", str(speech_weights(name))]
        pretrained(name)
        return out + [part for setting in settings for part in ("--set", setting)]

    return arguments

import zipfile

import pytest
import torch

from aimc_lightning.zoo.mlp_mnist.data import MnistData, load_mnist
from aimc_lightning.zoo.registry import get_model
from tests.helpers.mnist import write_mnist


@pytest.fixture
def folder(tmp_path):
    return write_mnist(tmp_path, train=50, test=20)


def test_network_has_the_size_its_card_names():
    assert sum(p.numel() for p in get_model("mlp_mnist").network.parameters()) == 269_322


def test_packed_and_unpacked_files_give_the_same(folder, tmp_path):
    images, labels = load_mnist("test", str(folder))
    with zipfile.ZipFile(folder / "mnist" / "mnist.zip") as archive:
        archive.extractall(tmp_path / "plain")
    other, again = load_mnist("test", str(tmp_path / "plain"))
    assert images.shape == (20, 1, 28, 28)
    assert torch.equal(images, other)
    assert torch.equal(labels, again)


def test_parts_are_disjoint_and_do_not_depend_on_the_seed(folder):
    parts = []
    for seed in (0, 1):
        data = MnistData(str(folder), val_size=10, seed=seed)
        data.setup("fit")
        parts.append(data.val.labels)
        assert (len(data.train), len(data.val)) == (40, 10)
    assert torch.equal(*parts)


def test_wrong_validation_size_is_named(folder):
    with pytest.raises(ValueError, match="val_size must be between 1 and 49 .* got 50"):
        MnistData(str(folder), val_size=50).setup("fit")


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="no MNIST in .* give a folder with mnist/mnist.zip"
    ):
        load_mnist("train", str(tmp_path))


def test_truncated_file_is_named(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 9]) + bytes(20))
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte of MNIST is truncated"):
        load_mnist("test", str(tmp_path))

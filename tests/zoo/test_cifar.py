import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from aimc_lightning.zoo.registry import get_model

pytest.importorskip("datasets")

from aimc_lightning.zoo import cifar
from aimc_lightning.zoo.cifar import CIFAR10, CIFAR100, load_cifar
from aimc_lightning.zoo.resnet32_cifar10.data import Cifar10Data
from aimc_lightning.zoo.wideresnet16_cifar100.data import Cifar100Data
from tests.helpers.cifar10 import write_cifar10

GIVEN = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def folder(tmp_path):
    """CIFAR-10 of 20 and 6 random images in the layout of the hub."""
    return write_cifar10(tmp_path / "cifar10", train=20, test=6)


# The third was counted by hand, the first two are those of the public weights.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet20_cifar10", 269_722),
        ("resnet32_cifar10", 464_154),
        ("wideresnet16_cifar100", 2_772_020),
    ],
)
def test_network_has_the_published_number_of_parameters(name, parameters):
    assert sum(p.numel() for p in get_model(name).network.parameters()) == parameters


def test_state_dict_has_the_keys_of_the_published_weights():
    keys = set(get_model("resnet32_cifar10").network.state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer3.4.bn2.bias", "linear.weight"} <= keys
    assert not [key for key in keys if "shortcut" in key]


def test_shortcut_takes_every_second_pixel_between_new_channels():
    block = get_model("resnet32_cifar10").network.layer2[0].eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 16, 8, 8)
    y = block(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert y[:, :8].abs().sum() == 0
    assert y[:, 24:].abs().sum() == 0


def test_pixels_and_labels_come_through_unchanged(folder):
    images, labels = load_cifar(CIFAR10, "train", str(folder))
    assert images.shape == (20, 3, 32, 32)
    assert images.dtype == torch.uint8
    generator = np.random.default_rng(0)
    expected = generator.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), expected)
    assert labels.tolist() == [i % 10 for i in range(20)]


def test_parent_folder_is_accepted(folder):
    assert len(load_cifar(CIFAR10, "test", str(folder.parent))[0]) == 6


def test_cache_gives_the_same_images_without_the_source(folder, tmp_path, monkeypatch):
    first = load_cifar(CIFAR10, "test", str(folder), str(tmp_path / "cache"))
    monkeypatch.setattr(cifar, "_read", None)
    second = load_cifar(CIFAR10, "test", str(folder), str(tmp_path / "cache"))
    assert first[0].stride() == second[0].stride()  # noise is drawn in the order of memory
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_validation_images_are_held_out_of_training(folder):
    module = Cifar10Data(str(folder), val_size=5)
    module.setup("fit")
    assert (len(module.train), len(module.val)) == (15, 5)
    hashes = [
        {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in part.images}
        for part in (module.train, module.val)
    ]
    assert not hashes[0] & hashes[1]


def test_validation_size_must_leave_training_images(folder):
    module = Cifar10Data(str(folder), val_size=20)
    with pytest.raises(ValueError, match="val_size must be between 1 and 19"):
        module.setup("fit")


def test_folder_without_the_files_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no test-\*.parquet in .* or leave the data"):
        load_cifar(CIFAR10, "test", str(tmp_path))


def test_truncated_file_is_named(folder):
    path = next(folder.glob("test-*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot read CIFAR-10 from .*test-.*truncated"):
        load_cifar(CIFAR10, "test", str(folder))


def test_without_data_and_network_the_error_says_what_to_do(monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError("no network")

    monkeypatch.setattr(cifar.datasets, "load_dataset", refuse)
    with pytest.raises(ConnectionError, match="CIFAR-10 is not at hand.*run ENTRY --data DIR"):
        load_cifar(CIFAR10, "test")


def test_cifar100_takes_the_fine_of_its_two_labels(tmp_path):
    write_cifar10(tmp_path / "cifar100", train=4, test=102, columns=("fine_label", "coarse_label"))
    module = Cifar100Data(str(tmp_path), val_size=1)
    module.setup("test")
    assert module.test.labels.tolist() == [*range(100), 0, 1]
    assert load_cifar(CIFAR100, "train", str(tmp_path))[0].shape == (4, 3, 32, 32)


@pytest.mark.slow
@pytest.mark.skipif(not (GIVEN / "cifar10").is_dir(), reason="needs the real data in ../shared")
def test_given_weights_score_exactly_as_published():
    weights = GIVEN / "weights" / "resnet32_cifar10_option_a.safetensors"
    module = get_model("resnet32_cifar10", weights=str(weights)).eval()
    data = Cifar10Data(str(GIVEN))
    data.setup("test")
    with torch.inference_mode():
        right = sum((module(x).argmax(1) == y).sum().item() for x, y in data.test_dataloader())
    assert right == 9263

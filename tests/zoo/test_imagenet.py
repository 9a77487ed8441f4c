import pytest
import torch

pytest.importorskip("datasets")
pytest.importorskip("torchvision")

from aimc_lightning.zoo import imagenet
from aimc_lightning.zoo.imagenet import ImageNetData, ImageRows, load_imagenet
from tests.helpers.imagenet import CLASSES, write_imagenet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_imagenet(tmp_path_factory.mktemp("imagenet"), train=6, val=4)


@pytest.fixture
def data(folder, tmp_path):
    module = ImageNetData(
        str(folder), str(tmp_path), batch_size=2, eval_batch_size=2, val_size=2, num_workers=0
    )
    module.setup("fit")
    module.setup("test")
    return module


def test_images_are_cropped_and_classes_numbered_by_name(data):
    batches = list(data.test_dataloader())
    assert [images.shape for images, _ in batches] == [(2, 3, 224, 224)] * 2
    assert sorted(label for _, labels in batches for label in labels.tolist()) == [0, 0, 1, 1]
    assert data.test.rows.features["label"].names == list(CLASSES)


def test_centre_crop_is_normalised_like_the_weights_of_torchvision(data):
    models = pytest.importorskip("torchvision").models
    image = data.test.rows[0]["image"]
    expected = models.get_weight("ResNet18_Weights.IMAGENET1K_V1").transforms()(image)
    torch.testing.assert_close(data.test[0][0], expected)


def test_validation_images_are_held_out_of_training(data):
    names = [
        {row["image"].tobytes() for row in part.rows}  # decoded pixels
        for part in (data.train, data.val)
    ]
    assert [len(found) for found in names] == [4, 2]
    assert not names[0] & names[1]


def test_augmentation_follows_from_seed_epoch_and_image_alone(data):
    rows = data.train.rows
    first, again, other = (ImageRows(rows, augment=True, seed=seed) for seed in (1, 1, 2))
    torch.manual_seed(5)
    image = first[3][0]
    torch.manual_seed(6)
    assert torch.equal(again[3][0], image)
    assert not torch.equal(other[3][0], image)
    again.epoch = 1
    assert not torch.equal(again[3][0], image)


def test_workers_give_the_images_of_one_process(data):
    alone = torch.cat([images for images, _ in data.train_dataloader()])
    data.num_workers = 2
    together = torch.cat([images for images, _ in data.train_dataloader()])
    assert torch.equal(alone, together)


def test_loading_leaves_the_global_generator_alone(data):
    state = torch.get_rng_state()
    data.train[0]
    assert torch.equal(torch.get_rng_state(), state)


def test_folder_without_the_layout_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*train.*train/<class>/\*.JPEG"):
        load_imagenet("train", str(tmp_path), None)


def test_other_classes_in_validation_are_refused(tmp_path):
    write_imagenet(tmp_path, train=2, val=1)
    with pytest.raises(ValueError, match="must hold the same classes, 'n01443537' is only in one"):
        load_imagenet("val", str(tmp_path), None)


def test_without_data_and_network_the_error_says_what_to_do(monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError("no network")

    monkeypatch.setattr(imagenet.datasets, "load_dataset", refuse)
    with pytest.raises(ConnectionError, match="aimc-lightning run ENTRY --data DIR"):
        load_imagenet("val", None, None)

import pytest
import torch

from aimc_lightning.zoo.registry import get_model

pytest.importorskip("sklearn")

from aimc_lightning.zoo.resnet8_digits.data import DigitsData


@pytest.fixture(scope="module")
def data():
    """The data module, set up."""
    module = DigitsData()
    module.setup("fit")
    return module


def test_network_has_eight_layers_with_weights():
    network = get_model("resnet8_digits").network
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 8


def test_split_has_1000_297_and_500_images(data):
    assert [len(part) for part in (data.train, data.val, data.test)] == [1000, 297, 500]


def test_split_has_equal_shares_of_classes(data):
    assert data.test.labels.bincount().tolist() == pytest.approx([50] * 10, abs=2)
    assert data.train.labels.bincount().tolist() == pytest.approx([100] * 10, abs=3)


def test_parts_share_no_image(data):
    counts = [
        len({bytes(image.numpy().tobytes()) for image in part.images})
        for part in (data.train, data.val, data.test)
    ]
    together = {
        bytes(image.numpy().tobytes())
        for part in (data.train, data.val, data.test)
        for image in part.images
    }
    assert sum(counts) == len(together)


def test_training_images_have_mean_0_and_deviation_1(data):
    images, _ = data.test[0]
    assert images.shape == (1, 8, 8)
    data.train.augment, augment = None, data.train.augment
    batch, _ = data.train.__getitems__(list(range(1000)))
    data.train.augment = augment
    assert batch.mean() == pytest.approx(0, abs=2e-3)
    assert batch.std() == pytest.approx(1, abs=2e-3)


def test_split_does_not_depend_on_the_seed(data):
    other = DigitsData(seed=7)
    other.setup("fit")
    assert torch.equal(other.test.images, data.test.images)

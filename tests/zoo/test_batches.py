import pytest
import torch

from aimc_lightning.zoo.batches import (
    ImageArray,
    make_loader,
    random_cutout,
    random_flip,
    random_shift,
)

IMAGES = torch.arange(10 * 16, dtype=torch.uint8).view(10, 1, 4, 4)
LABELS = torch.arange(10)


def _array(augment=None, seed=0):
    return ImageArray(IMAGES, LABELS, mean=[0.5], std=[0.25], augment=augment, seed=seed)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pixels_are_scaled_and_normalised():
    images, labels = next(iter(make_loader(_array(), 10)))
    torch.testing.assert_close(images, (IMAGES / 255 - 0.5) / 0.25)
    assert labels.tolist() == list(range(10))


def test_one_image_equals_its_row_of_a_batch():
    image, label = _array()[3]
    torch.testing.assert_close(image, (IMAGES[3] / 255 - 0.5) / 0.25)
    assert label == 3


def test_last_batch_may_be_of_one_image():
    sizes = [len(labels) for _, labels in make_loader(_array(), 3)]
    assert sizes == [3, 3, 3, 1]


def _epoch(seed, epoch):
    loader = make_loader(_array(lambda x, g: random_shift(x, 1, g)), 5, shuffle=True, seed=seed)
    loader.sampler.set_epoch(epoch)
    return [(images, labels) for images, labels in loader]


def test_same_seed_and_epoch_give_the_same_batches():
    for (images, labels), (again, labels_again) in zip(_epoch(1, 2), _epoch(1, 2), strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)


def test_order_changes_with_the_epoch():
    assert not torch.equal(_epoch(1, 0)[0][1], _epoch(1, 1)[0][1])


def test_two_processes_share_an_epoch():
    loaders = [make_loader(_array(), 5, shuffle=True, world_size=2, rank=r) for r in (0, 1)]
    seen = [label for loader in loaders for _, labels in loader for label in labels.tolist()]
    assert sorted(seen) == list(range(10))


def test_shift_moves_each_image_by_its_own_offset():
    images = torch.zeros(200, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2] = 9
    moved = random_shift(images, 2, _generator())
    assert moved.dtype == torch.uint8
    assert (moved.sum(dim=(1, 2, 3)) == 9).all()
    assert len({tuple(image.nonzero()[0].tolist()) for image in moved}) == 25


def test_shift_by_nothing_leaves_images_unchanged():
    assert torch.equal(random_shift(IMAGES, 0, _generator()), IMAGES)


def test_flip_mirrors_some_images_and_leaves_the_others():
    flipped = random_flip(IMAGES, _generator())
    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(flipped, IMAGES, strict=True)]
    same = [torch.equal(new, old) for new, old in zip(flipped, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 0 < sum(mirrored) < 10


def test_cutout_blackens_at_most_one_square():
    images = torch.full((50, 3, 8, 8), 7, dtype=torch.uint8)
    black = (random_cutout(images, 4, _generator()) == 0).sum(dim=(1, 2, 3))
    assert black.max() == 3 * 16
    assert black.min() > 0


def test_cutout_of_no_pixels_leaves_images_unchanged():
    assert random_cutout(IMAGES, 0, _generator()) is IMAGES


def test_empty_data_set_is_an_error():
    with pytest.raises(ValueError, match="the data set is empty"):
        ImageArray(IMAGES[:0], LABELS[:0], mean=[0], std=[1])


def test_labels_must_match_images():
    with pytest.raises(ValueError, match="10 images need as many labels, got 9"):
        ImageArray(IMAGES, LABELS[:9], mean=[0], std=[1])


def test_batch_size_must_be_positive():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        make_loader(_array(), 0)

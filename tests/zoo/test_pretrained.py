"""Checkpoints that ship inside the package."""

import pytest

from aimc_lightning import analog_layers, from_pretrained
from aimc_lightning.hub.folder import verify_checkpoint
from aimc_lightning.zoo.lstm_charlm.data import PythonManualData
from aimc_lightning.zoo.pretrained import list_pretrained, shipped_checkpoint


@pytest.mark.parametrize("name", list_pretrained())
def test_shipped_checkpoint_loads_by_name_alone(name):
    assert verify_checkpoint(shipped_checkpoint(name))["architecture"]["name"] == name
    assert analog_layers(from_pretrained(name))


def test_shipped_digits_classify_the_test_set():
    data = pytest.importorskip("aimc_lightning.zoo.resnet8_digits.data").DigitsData()
    data.setup("test")
    images, labels = next(iter(data.test_dataloader()))
    hits = (from_pretrained("resnet8_digits")(images).argmax(1) == labels).float().mean()
    assert hits >= 0.98  # 0.992 digital; 500 images, so five standard errors are 0.02


def test_shipped_letters_predict_the_test_text():
    data = PythonManualData()
    data.setup("test")
    letters, following = next(iter(data.test_dataloader()))
    hits = (from_pretrained("lstm_charlm")(letters).argmax(-1) == following).float().mean()
    assert hits >= 0.58  # 0.64 on the whole text; 6,400 letters, without context at first


def test_misspelt_name_is_explained():
    with pytest.raises(ValueError, match="Did you mean 'resnet8_digits'"):
        from_pretrained("resnet8_digit")

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.mapping.count import count_samples, count_vectors
from aimc_lightning.nn.base import analog_arrays, analog_layers


def _vectors(model, batch, config="standard_pcm", forward=None):
    convert_to_analog(model, config)
    counts = count_vectors(model, batch, forward)
    return {
        f"{name}.{key}": counts.get(array)
        for name, layer in analog_layers(model).items()
        for key, (array, _) in analog_arrays(layer).items()
    }


@pytest.mark.parametrize("config", ["standard_pcm", "ideal", "aihwkit_pcm"])
def test_a_convolution_meets_one_vector_for_each_place(config):
    model = nn.Sequential(nn.Conv2d(64, 8, 3, stride=2, padding=1))
    assert _vectors(model, torch.zeros(2, 64, 6, 6), config) == {"0.weight": 2 * 3 * 3}


def test_groups_have_vectors_of_their_own():
    model = nn.Sequential(nn.Conv1d(8, 8, 3, groups=4))
    assert _vectors(model, torch.zeros(2, 8, 5)) == {"0.weight": 2 * 3 * 4}


@pytest.mark.parametrize("config", ["standard_pcm", "ideal"])
def test_each_matrix_of_a_recurrent_layer_meets_one_vector_for_each_step(config):
    model = nn.Sequential(nn.LSTM(4, 6, num_layers=2, proj_size=3))
    counts = _vectors(model, torch.zeros(7, 2, 4), config)
    assert len(counts) == 6
    assert set(counts.values()) == {14}


def test_a_layer_that_runs_twice_counts_twice():
    model = nn.Sequential(nn.Linear(4, 4))
    assert _vectors(model, torch.zeros(3, 4), forward=lambda x: model(model(x))) == {"0.weight": 6}


def test_the_model_and_random_numbers_are_left_as_they_were():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    convert_to_analog(model, "ideal")
    model.train()
    before = torch.get_rng_state()
    count_vectors(model, torch.zeros(3, 4), None)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in model.modules())
    assert model[0].analog.bypass
    assert not model[0].analog._forward_hooks


def test_samples_are_the_first_axis_of_the_first_tensor():
    assert count_samples({"name": "x", "ids": [torch.zeros(5, 2)]}) == 5
    with pytest.raises(ValueError, match="no tensor found in the sample input of type str"):
        count_samples("text")


@pytest.mark.parametrize("kind", [nn.Module, LightningModule])
def test_model_without_forward_is_refused(kind):
    module = kind()
    module.network = nn.Linear(4, 2)
    convert_to_analog(module)
    with pytest.raises(ValueError, match="has no forward"):
        count_vectors(module, torch.zeros(1, 4), None)
    assert count_vectors(module, torch.zeros(1, 4), lambda x: module.network(x))

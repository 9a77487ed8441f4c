import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from aimc_lightning.zoo.weights import load_weights


def _network(width=3):
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(_network().state_dict(), path)
    return path


def test_weights_are_loaded(file):
    first, second = _network(), _network()
    load_weights(first, file)
    load_weights(second, file)
    assert torch.equal(first[0].weight, second[0].weight)


def test_missing_batch_counters_are_tolerated(tmp_path):
    state = {k: v for k, v in _network().state_dict().items() if "num_batches" not in k}
    save_file(state, tmp_path / "net.safetensors")
    load_weights(_network(), tmp_path / "net.safetensors")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors' does not exist"):
        load_weights(_network(), tmp_path / "nowhere.safetensors")


def test_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated or damaged"):
        load_weights(_network(), file)


def test_other_architecture_is_refused_and_nothing_changed(file):
    network = _network(width=5)
    before = network[0].weight.clone()
    with pytest.raises(ValueError, match=r"another architecture .*0.weight \(3, 4\) instead of"):
        load_weights(network, file)
    assert torch.equal(network[0].weight, before)


def test_unexpected_keys_are_named(file):
    with pytest.raises(ValueError, match="unexpected 1.bias, 1.num_batches_tracked, .* 2 more"):
        load_weights(nn.Sequential(nn.Linear(4, 3)), file)

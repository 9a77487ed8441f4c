import builtins
import re
import urllib.request

import pytest
import torch

pytest.importorskip("torchvision")

from aimc_lightning.zoo.registry import get_model
from aimc_lightning.zoo.torchvision_network import torchvision_network
from tests.helpers.torch_hub import KIND, write_pretrained


@pytest.fixture(autouse=True)
def hub(tmp_path):
    """An empty cache of torch.hub."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    yield tmp_path
    torch.hub.set_dir(before)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18_imagenet", 11_689_512),
        ("resnet50_imagenet", 25_557_032),
        ("densenet121_imagenet", 7_978_856),
        ("wideresnet50_imagenet", 68_883_240),
    ],
)
def test_network_has_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        module = get_model(name)
    assert sum(p.numel() for p in module.network.parameters()) == parameters


def test_weights_of_torchvision_are_taken_when_asked_for():
    state = torchvision_network("resnet18", None).state_dict()
    write_pretrained("resnet18", state)
    module = get_model("resnet18_imagenet", pretrained=KIND)
    assert torch.equal(module.network.fc.weight, state["fc.weight"])
    assert "pretrained" not in module.hparams


def test_old_names_in_the_file_of_densenet_are_understood():
    state = torchvision_network("densenet121", None).state_dict()
    pattern = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))([12]\.)")
    old = {pattern.sub(r"\1.\2", key): value for key, value in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    write_pretrained("densenet121", old)
    network = torchvision_network("densenet121", KIND)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


class Opens:
    """Something that runs code when it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_code_in_the_file_is_not_run(capsys):
    write_pretrained("resnet18", {"fc.weight": Opens()})
    with pytest.raises(Exception, match="[Ww]eights.only"):
        torchvision_network("resnet18", KIND)
    assert "unpickled" not in capsys.readouterr().out


def test_without_network_the_error_says_what_to_do(monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(ConnectionError, match="aimc-lightning run ENTRY --weights FILE"):
        torchvision_network("resnet18", KIND)


def test_unknown_weights_are_named():
    with pytest.raises(ValueError, match=r"resnet18 \(IMAGENET1K_V1, DEFAULT\) or null, got 'V9'"):
        torchvision_network("resnet18", "V9")


def test_missing_torchvision_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "torchvision":
            raise ImportError("No module named 'torchvision'")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'aimc-lightning\[zoo\]'"):
        torchvision_network("resnet18", None)

"""The worked example of docs/own_device.md runs."""

import re

import pytest
import torch
import yaml

import aimc_lightning.devices.base as base
from aimc_lightning.config import TileConfig


@pytest.fixture
def example(root, monkeypatch, capsys):
    """Names that the example defines; its device is forgotten afterwards."""
    monkeypatch.setattr(base._REGISTRY, "_classes", dict(base._REGISTRY._classes))
    page = (root / "docs" / "own_device.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {"__name__": "own_device"}
    torch.manual_seed(0)
    exec(compile(code, "docs/own_device.md", "exec", dont_inherit=True), names)
    names["printed"] = capsys.readouterr().out
    (names["yaml"],) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    return names


def test_example_prints_an_error_that_grows_with_time(example):
    errors = [int(part) for part in re.findall(r"error (\d+) %", example["printed"])]
    assert len(errors) == 3
    assert 0 < errors[0] < errors[2] < 100


def test_yaml_names_the_same_device(example):
    assert TileConfig.from_dict(yaml.safe_load(example["yaml"])).chip == example["config"].chip


def test_device_has_the_statistics_that_it_states(example):
    device, source = example["LabDevice"](), torch.Generator().manual_seed(0)
    g = torch.full((100_000,), 20.0)
    g_prog, nu = device.program_chip(g, generator=source)
    # Standard error of a standard deviation: 0.22 %; five of them.
    assert float(g_prog.std()) == pytest.approx(0.6, rel=0.011)
    assert float(nu.mean()) == pytest.approx(0.03, abs=5 * 0.01 / 316)
    assert torch.equal(device.read(g, 0 * nu, g, 0.0, generator=source) > 0, g > 0)

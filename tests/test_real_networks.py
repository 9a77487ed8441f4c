"""Networks of torchvision and transformers at full size with random weights, on a CPU.

Run with ``pytest -m slow tests/test_real_networks.py -s``; it prints the tiles of each network.
"""

import copy
import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.nn.base import analog_layers, analog_tiles, program_, set_time_
from aimc_lightning.presets import get_preset
from tests.helpers.layer_tables import PAGE, network_row
from tests.helpers.networks import NAMES, Network, build_network

pytestmark = pytest.mark.slow

#: Every effect off, but through the chain and over tiles of the standard size.
THROUGH_TILES = get_preset("ideal").with_values(
    {"mapping.max_inputs": 512, "mapping.max_outputs": 512, "mapping.learn_out_scale": "column"}
)


@pytest.fixture(params=NAMES)
def network(request) -> Iterator[Network]:
    torch.manual_seed(0)
    yield build_network(request.param)
    gc.collect()


def _owners(model: nn.Module) -> set[str]:
    return {
        name for name, module in model.named_modules() if list(module.parameters(recurse=False))
    }


def _check_report(model: nn.Module, report: Any, owners: set[str]) -> None:
    names = [row.name for row in (*report.converted, *report.kept)]
    assert len(names) == len(set(names))
    assert set(names) == owners
    assert all(row.tiles > 0 for row in report.converted)
    assert all(row.reason for row in report.kept)
    assert [row.name for row in report.converted] == list(analog_layers(model))


def test_network_converts_trains_and_equals_the_digital_one(network, request, capsys):
    model, forward = network
    owners, keys = _owners(model), list(model.state_dict())
    parameters = {id(parameter) for parameter in model.parameters()}
    model.eval()
    with torch.no_grad():
        expected = forward(model)
        convert_to_analog(model, "ideal")
        torch.testing.assert_close(forward(model), expected, rtol=1e-5, atol=1e-5)
        convert_to_digital(model)
        # In float64: deep networks with random weights amplify the rounding of float32.
        expected = forward(model.double())
        convert_to_analog(model, THROUGH_TILES)
        torch.testing.assert_close(forward(model), expected, rtol=1e-6, atol=1e-6)
        convert_to_digital(model).float()
    assert list(model.state_dict()) == keys
    assert {id(parameter) for parameter in model.parameters()} == parameters  # ties included

    report = convert_to_analog(model)
    _check_report(model, report, owners)
    model.train()
    forward(model).square().mean().backward()
    for name, tile in analog_tiles(model).items():
        assert tile.out_scale.grad is not None, f"{name} was never used"
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())

    program_(model.eval(), 1)
    set_time_(model, 3600.0, 1)
    with torch.no_grad():
        assert torch.isfinite(forward(model)).all()
    name = request.node.callspec.params["network"]
    assert network_row(name, report) in PAGE.read_text().splitlines()
    with capsys.disabled():
        kinds = sorted({f"{row.type}: {row.reason}" for row in report.kept})
        print(f"\n{name}: {str(report).splitlines()[-1]}")
        print("  digital: " + "; ".join(kinds))


def test_copy_of_a_converted_window_attention_uses_its_own_tiles():
    model, forward = build_network("swin_t")
    convert_to_analog(model)
    twin = copy.deepcopy(model)
    forward(twin).mean().backward()
    assert all(tile.out_scale.grad is not None for tile in analog_tiles(twin).values())
    assert all(tile.out_scale.grad is None for tile in analog_tiles(model).values())

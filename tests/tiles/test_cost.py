"""What a step costs, in operations and bytes: counts do not depend on how busy the machine is.

Each bound is the number measured when the test was written. A change that raises one makes training
slower on every machine: find out why, rather than raising the bound.
"""

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.nn.base import program_, set_time_

pytest.importorskip("numba")
from aimc_lightning.functional import fused_integers


@pytest.fixture(params=[True, False], ids=["integers", "floats"])
def integers(request, monkeypatch):
    """Whether the CPU has instructions for 8-bit integers: costs are the same on every machine."""
    monkeypatch.setattr(fused_integers, "has_integer_instructions", lambda: request.param)
    return request.param


_PRODUCTS = {"mm", "addmm", "bmm", "convolution", "convolution_backward"}


class _Cost(TorchDispatchMode):
    """Counts what torch does: products, other passes over large tensors, bytes of new memory.

    Products of 8-bit integers take a quarter of the time of others and count on their own.
    """

    def __init__(self, large: int) -> None:
        super().__init__()
        self.large = large
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        for out in result if isinstance(result, tuple | list) else (result,):
            if not isinstance(out, Tensor) or out.numel() < self.large:
                continue
            if name in _PRODUCTS:
                self.counts["products"] += 1
            elif name == "_int_mm":
                self.counts["integer products"] += 1
            elif not func.is_view and name not in ("empty", "empty_strided", "detach", "alias"):
                self.counts["passes"] += 1
            if out.untyped_storage().data_ptr() not in known and not func.is_view:
                self.counts["bytes"] += out.numel() * out.element_size()
        return result


def _training_step(model: nn.Module, x: Tensor, large: int) -> Counter[str]:
    for _ in range(3):  # input ranges settle, kernels are compiled
        model(x).sum().backward()
    for parameter in model.parameters():
        parameter.grad = None
    with _Cost(large) as cost:
        y = model(x)
        y.backward(torch.ones_like(y))
    return cost.counts


def _analog(layer: nn.Module, **values: Any) -> nn.Sequential:
    config = TileConfig().with_values({"input_range.init_batches": 1, **values})
    model = nn.Sequential(layer)
    convert_to_analog(model, config)
    return model.train()


REDUCED = {"noise.read_std": 0.0, "ir_drop.scale": 0.0}
#: Layer, shape of the inputs, settings; then products, those of integers, passes over large
#: tensors, and bytes as a multiple of those of the plain layer, which takes 3 or 2 products and 2
#: passes: in floating point, and where the CPU multiplies integers.
STEPS = {
    "linear": (nn.Linear(128, 128), (128, 128), {}, (5, 0, 5, 4.2), (1, 6, 5, 5.2)),
    "linear, reduced": (
        nn.Linear(128, 128), (128, 128), REDUCED, (3, 0, 5, 3.2), (1, 4, 5, 4.2),
    ),
    "conv": (nn.Conv2d(8, 8, 3, padding=1), (8, 8, 12, 12), {}, (4, 0, 4, 4.2), (4, 0, 4, 4.2)),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_training_step_costs_no_more_than_when_it_was_measured(name, integers):
    layer, shape, values, *bounds = STEPS[name]
    products, in_integers, passes, memory = bounds[integers]
    x = torch.randn(shape, requires_grad=True)
    large = x.numel() // 2
    plain = _training_step(nn.Sequential(copy.deepcopy(layer)), x, large)
    ours = _training_step(_analog(copy.deepcopy(layer), **values), x, large)
    assert ours["products"] <= products
    assert ours["integer products"] <= in_integers
    assert ours["passes"] <= passes
    assert ours["bytes"] <= memory * plain["bytes"]


def test_first_layer_needs_no_product_for_the_gradient_of_its_inputs(integers):
    x = torch.randn(128, 128)  # nobody asks for its gradient, yet the input range is learned
    ours = _training_step(_analog(nn.Linear(128, 128)), x, x.numel() // 2)
    assert ours["products"] <= (0 if integers else 4)


def test_programmed_chip_costs_its_products_and_nothing_over_its_weights(integers):
    model = _analog(nn.Linear(256, 256)).eval()
    program_(model, 0)
    set_time_(model, 3600.0, 0)
    with torch.no_grad(), _Cost(large=128 * 256) as cost:
        model(torch.randn(16, 256))  # outputs are smaller than what counts as large
    assert not any(cost.counts.values())
    with torch.no_grad(), _Cost(large=16 * 256) as cost:
        model(torch.randn(16, 256))
    found = cost.counts["products"], cost.counts["integer products"]
    assert found == ((0, 4) if integers else (3, 0))


@pytest.mark.parametrize("steps", [4, 8])
def test_recurrent_layer_makes_one_input_product_for_all_time_steps(steps, integers):
    model = _analog(nn.LSTM(64, 64)).eval()
    x = torch.randn(steps, 2, 64)
    with torch.no_grad(), _Cost(large=1) as cost:
        model(x)
    # Four or three products with the input matrix, and as many in every step with the recurrent.
    found = cost.counts["products"], cost.counts["integer products"]
    assert found == ((0, 4 + 4 * steps) if integers else (3 + 3 * steps, 0))

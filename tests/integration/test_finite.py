"""``batch_is_finite``: one pass over memory finds what ``isfinite`` finds."""

import pytest
import torch

from aimc_lightning.integration.finite import batch_is_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 77, 299])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(dtype, value, place):
    x = torch.randn(3, 100, requires_grad=True).to(dtype)
    assert batch_is_finite(x)
    x.data.view(-1)[place] = value
    assert not batch_is_finite(x)
    assert not batch_is_finite({"x": [torch.zeros(2), x], "y": torch.tensor([1])})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_largest_numbers_are_finite(dtype):
    limits = torch.finfo(dtype)
    assert batch_is_finite(torch.tensor([limits.max, limits.min, limits.max], dtype=dtype))


@pytest.mark.parametrize("batch", [torch.tensor([3, 4]), torch.zeros(0, 5), (), "text", None])
def test_what_holds_no_such_number_is_finite(batch):
    assert batch_is_finite(batch)

"""Every precision of the Trainer; the converters compute in at least float32 in all of them."""

import pytest
import torch
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.integration.callback import AnalogTraining
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, ToyData, toy, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]
# No float16 autocast with gradient scaling on a CPU: Lightning says so and takes bfloat16.
pytestmark.append(pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU.*"))

PRECISIONS = {
    "32-true": torch.float32,
    "16-mixed": torch.float32,
    "bf16-mixed": torch.float32,
    "bf16-true": torch.bfloat16,
    "64-true": torch.float64,
}

#: Converters alone, so that codes can be compared; conductances neither noisy nor clipped.
CODES = TileConfig().with_values(
    {
        "noise.output_std": 0.0,
        "noise.read_std": 0.0,
        "ir_drop.scale": 0.0,
        "weight_noise.type": "none",
        "input_range.init_batches": 0,
        "input_range.initial": 2.0,
    }
)


@pytest.mark.parametrize(("precision", "dtype"), PRECISIONS.items())
def test_fit_validate_and_evaluation_work(precision, dtype):
    module, data = toy(), ToyData()
    run = trainer(AnalogTraining(NOISY), precision=precision)
    before = module.net[0].weight.detach().clone()
    run.fit(module, data)
    assert module.net[0].weight.dtype == dtype
    assert module.net[0].analog.tiles[0].input_range.dtype == dtype
    assert not torch.equal(module.net[0].weight.float(), before)
    assert all(value.isfinite().all() for value in module.parameters())
    assert run.validate(module, data, verbose=False)[0]["val_acc"] > 0.4
    results = evaluate_drift(
        trainer(precision=precision), module, data, ("1s", "1y"), 1, metric="test_loss",
        digital=0.0, chance=5.0, progress=False,
    )  # fmt: skip
    assert len(results.rows) == 2
    assert all(0 < row.value < 5 for row in results.rows)


def _layers(dtype):
    """Return layers, one of them with several tiles, in a type, and inputs."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"linear": nn.Linear(40, 30), "conv": nn.Conv2d(3, 8, 3)}).to(dtype)
    convert_to_analog(model, CODES.with_values({"mapping.max_inputs": 27}))
    inputs = {"linear": torch.randn(50, 40), "conv": torch.randn(4, 3, 8, 8)}
    return model.eval(), {name: x.to(dtype) for name, x in inputs.items()}


def _partial_sums(layer, x):
    """Return the outputs of the single tiles, before they are added: codes times a scale."""
    found = []
    hooks = [
        tile.register_forward_hook(lambda _, __, y: found.append(y)) for tile in layer.analog.tiles
    ]
    layer(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", ["linear", "conv"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_of_half_precision_are_those_of_float32(name, dtype):
    model, inputs = _layers(dtype)
    wide, _ = _layers(dtype)
    wide.float()
    ours = _partial_sums(model[name], inputs[name])
    expected = _partial_sums(wide[name], inputs[name].float())
    assert len(ours) == len(expected) >= 1
    for mine, reference in zip(ours, expected, strict=True):
        # Eight-bit codes differ by more than the rounding of half precision.
        assert torch.equal(mine, reference.to(dtype))


@pytest.mark.parametrize("name", ["linear", "conv"])
def test_codes_under_autocast_are_those_without(name):
    model, inputs = _layers(torch.float32)
    expected = _partial_sums(model[name], inputs[name])
    with torch.autocast("cpu", torch.bfloat16):
        ours = _partial_sums(model[name], inputs[name])
    for mine, reference in zip(ours, expected, strict=True):
        assert mine.dtype == torch.bfloat16
        assert torch.equal(mine, reference.bfloat16())


def test_converters_in_half_precision_would_change_codes():
    # What the tests above would find: levels of 127 steps do not fit eight bits of mantissa.
    torch.manual_seed(0)
    x = torch.randn(2000).bfloat16().clamp(-2, 2)
    naive = (x / 2 * 127).round()
    assert (naive != (x.float() / 2 * 127).round()).float().mean() > 0.05

"""Checks that every analog layer inherits: a test class supplies digital layers and their inputs.

Example::

    class TestAnalogLinear(LayerConformance):
        @pytest.fixture(params=CASES)
        def case(self, request):
            return request.param
"""

import copy
import hashlib
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.nn.base import (
    analog_arrays,
    clip_weights_,
    is_programmed,
    program_,
    set_time_,
    unprogram_,
)
from aimc_lightning.presets import get_preset

IDEAL = get_preset("ideal")
#: Runs through the whole chain with every effect off, over several small tiles.
TILED = IDEAL.with_values(
    {"mapping.learn_out_scale": "column", "mapping.max_inputs": 18, "mapping.max_outputs": 3}
)
STANDARD = TileConfig().with_values({"mapping.max_inputs": 18, "mapping.max_outputs": 3})


@dataclass(frozen=True)
class Case:
    """A digital layer and the shape of its input.

    Attributes:
        build: Makes the layer.
        shape: Shape of the input.
        batch_axis: Axis of the batch, ``None`` for a single sample.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch_axis: int | None = 0

    def digital(self, dtype: torch.dtype = torch.float32) -> nn.Sequential:
        """Return a model of this one layer, always with the same weights."""
        torch.manual_seed(0)
        return nn.Sequential(self.build()).to(dtype)

    def analog(self, config: TileConfig, dtype: torch.dtype = torch.float32) -> nn.Sequential:
        """Return the same model on tiles."""
        model = self.digital(dtype)
        convert_to_analog(model, config)
        return model

    def inputs(self, dtype: torch.dtype = torch.float32, batch: int | None = None) -> Tensor:
        """Return the same inputs each time, of another batch size if asked for."""
        shape = list(self.shape)
        if batch is not None and self.batch_axis is not None:
            shape[self.batch_axis] = batch
        generator = torch.Generator().manual_seed(1)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def flat(output: Any) -> Tensor:
    """Return all tensors of an output in one vector."""
    if isinstance(output, Tensor):
        return output.flatten()
    return torch.cat([flat(part) for part in output if part is not None])


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return output and gradients of inputs and parameters, each parameter by name."""
    x = x.clone().requires_grad_()
    y = flat(model(x))
    weights = torch.linspace(-1, 1, len(y), dtype=y.dtype)
    (y * weights).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"y": y.detach(), "x": x.grad, **found}


def digest(model: nn.Module) -> str:
    """Return a hash of all parameters and buffers."""
    buffer = io.BytesIO()
    torch.save({key: value.clone() for key, value in model.state_dict().items()}, buffer)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def chip(model: nn.Module, seed: int, time_s: float = 3600.0) -> nn.Module:
    """Programme and age a model, and put it into evaluation."""
    program_(model, seed)
    set_time_(model, time_s, seed)
    return model.eval()


class LayerConformance:
    """What must hold for every analog layer."""

    @pytest.mark.parametrize("train", [True, False])
    def test_ideal_equals_digital_bit_for_bit(self, case, train):
        x = case.inputs()
        ours = gradients(case.analog(IDEAL).train(train), x)
        expected = gradients(case.digital().train(train), x)
        for name, value in expected.items():
            assert torch.equal(ours[name], value), name

    def test_tiles_with_every_effect_off_equal_digital_to_rounding(self, case):
        x = case.inputs(torch.float64)
        ours = gradients(case.analog(TILED, torch.float64), x)
        for name, value in gradients(case.digital(torch.float64), x).items():
            torch.testing.assert_close(ours[name], value, rtol=1e-10, atol=1e-11, msg=name)

    def test_programmed_ideal_device_equals_digital_to_rounding(self, case):
        x = case.inputs(torch.float64)
        ours = flat(chip(case.analog(TILED, torch.float64), 1)(x))
        torch.testing.assert_close(
            ours, flat(case.digital(torch.float64)(x)), rtol=1e-9, atol=1e-10
        )

    def test_standard_tile_trains_all_that_is_learned(self, case):
        model = case.analog(STANDARD)
        found = gradients(model, case.inputs())
        for name, parameter in model.named_parameters():
            assert name in found, name
            assert torch.isfinite(found[name]).all(), name
            assert found[name].shape == parameter.shape

    def test_any_optimizer_changes_weights_and_keeps_them_finite(self, case):
        model = case.analog(STANDARD.with_values({"clip.type": "gaussian"}))
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        gradients(model, case.inputs())
        optimizer.step()
        clip_weights_(model)
        for name, parameter in model.named_parameters():
            assert torch.isfinite(parameter).all(), name
            assert "weight" not in name or not torch.equal(parameter, before[name])

    def test_state_dict_is_a_superset(self, case):
        digital, analog = case.digital().state_dict(), case.analog(STANDARD).state_dict()
        assert set(digital) <= set(analog)
        assert all(torch.equal(analog[key], value) for key, value in digital.items())
        assert all(".analog." in key for key in set(analog) - set(digital))

    def test_digital_checkpoint_loads_into_analog_and_back(self, case):
        analog, digital = case.analog(STANDARD), case.digital()
        with torch.no_grad():
            for parameter in digital.parameters():
                parameter.mul_(2)
        outcome = analog.load_state_dict(digital.state_dict(), strict=False)
        assert not outcome.unexpected_keys
        assert all(".analog." in key for key in outcome.missing_keys)
        fresh = case.digital()
        assert not fresh.load_state_dict(analog.state_dict(), strict=False).missing_keys
        assert all(map(torch.equal, fresh.parameters(), digital.parameters()))

    def test_round_trip_to_digital_is_exact(self, case):
        model = case.digital()
        parameters = dict(model.named_parameters())
        cls, keys = type(model[0]), list(model.state_dict())
        convert_to_analog(model, STANDARD)
        convert_to_digital(model)
        assert type(model[0]) is cls
        assert list(model.state_dict()) == keys
        assert all(parameters[name] is p for name, p in model.named_parameters())
        x = case.inputs()
        assert torch.equal(flat(model(x)), flat(case.digital()(x)))

    def test_trained_output_scale_survives_the_way_back(self, case):
        model = case.analog(TILED, torch.float64).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("out_scale"):
                    parameter.copy_(torch.linspace(0.5, 2, len(parameter)))
        x = case.inputs(torch.float64)
        expected = flat(model(x))
        torch.testing.assert_close(flat(convert_to_digital(model)(x)), expected)

    def test_deep_copy_is_equal_and_independent(self, case):
        model, x = chip(case.analog(STANDARD), 3), case.inputs()
        twin = copy.deepcopy(model)
        set_time_(twin, 3600.0, 3)
        set_time_(model, 3600.0, 3)
        with torch.no_grad():
            expected = flat(model(x))
            assert torch.equal(flat(twin(x)), expected)
            for parameter in twin.parameters():
                parameter.zero_()
        unprogram_(twin)
        assert is_programmed(model)
        assert digest(model) != digest(twin)

    @pytest.mark.parametrize("programmed", [False, True])
    def test_pickle_keeps_the_layer(self, case, programmed):
        model, x = case.analog(STANDARD).eval(), case.inputs()
        if programmed:
            chip(model, 3)
        twin = pickle.loads(pickle.dumps(model))
        torch.manual_seed(0)
        expected = flat(model(x))
        torch.manual_seed(0)
        assert torch.equal(flat(twin(x)), expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_dtype_is_kept_in_training_and_on_a_chip(self, case, dtype):
        model, x = case.analog(STANDARD, dtype), case.inputs(dtype)
        found = gradients(model, x)
        assert all(value.dtype == dtype for value in found.values())
        assert all(torch.isfinite(value).all() for value in found.values())
        assert flat(chip(model, 1)(x)).dtype == dtype

    def test_autocast_sets_the_type_as_in_the_digital_layer(self, case):
        x = case.inputs()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            expected = flat(case.digital()(x)).dtype
            assert flat(case.analog(STANDARD)(x)).dtype == expected
            assert flat(chip(case.analog(STANDARD), 1)(x)).dtype == expected

    def test_same_seed_is_the_same_chip_and_another_is_not(self, case):
        x = case.inputs()
        with torch.no_grad():
            one, same, other = (flat(chip(case.analog(STANDARD), seed)(x)) for seed in (5, 5, 6))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)

    def test_chip_keeps_its_devices_and_draws_new_read_noise(self, case):
        model, x = chip(case.analog(STANDARD), 5), case.inputs()
        with torch.no_grad():
            first, again = flat(model(x)), flat(model(x))
            set_time_(model, 3600.0, 5)
            assert torch.equal(flat(model(x)), first)
        assert not torch.equal(first, again)

    def test_evaluation_leaves_weights_and_ranges_untouched(self, case):
        model, x = case.analog(STANDARD), case.inputs()
        before = digest(model)
        with torch.no_grad():
            for time_s in (0.0, 1.0, 3.15e7):
                chip(model, 7, time_s)(x)
            unprogram_(model)
            model(x)
        assert digest(model) == before
        assert not is_programmed(model)

    def test_chip_is_left_out_of_training(self, case):
        model, x = case.analog(TILED, torch.float64), case.inputs(torch.float64)
        program_(model, 1)
        for array, _ in analog_arrays(model[0]).values():
            for tile in array.tiles:
                tile.chip.weights = None  # would fail if it were used
        expected = flat(case.digital(torch.float64)(x))
        torch.testing.assert_close(flat(model.train()(x)), expected, rtol=1e-10, atol=1e-11)

    def test_columns_of_zeros_work_everywhere(self, case):
        model, x = case.analog(STANDARD), case.inputs()
        with torch.no_grad():
            for _, weight in analog_arrays(model[0]).values():
                weight[0].zero_()
        assert all(torch.isfinite(value).all() for value in gradients(model, x).values())
        assert torch.isfinite(flat(chip(model, 1)(x))).all()

    @pytest.mark.parametrize("batch", [0, 1])
    def test_empty_batch_and_batch_of_one_work(self, case, batch):
        if case.batch_axis is None:
            pytest.skip("no batch axis")
        x = case.inputs(batch=batch)
        digital = case.digital()
        try:
            expected = flat(digital(x)).shape
        except RuntimeError:
            pytest.skip("torch's own layer refuses this batch")
        model = case.analog(STANDARD)
        found = gradients(model, x)
        assert found["y"].shape == expected
        assert all(torch.isfinite(value).all() for value in found.values())
        assert flat(chip(model, 1)(x)).shape == expected

    @pytest.mark.parametrize("name", ["ideal", "standard_pcm"])
    def test_integer_inputs_are_refused(self, case, name):
        with pytest.raises((TypeError, RuntimeError), match=r"int64|dtype|[Ll]ong"):
            case.analog(get_preset(name))(torch.ones(case.shape, dtype=torch.int64))

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
    def test_chip_is_the_same_on_every_device(self, case):
        quiet = STANDARD.with_values(
            {"noise.output_std": 0.0, "noise.read_std": 0.0, "adc.bits": None, "dac.bits": None}
        )
        x = case.inputs()
        expected = flat(chip(case.analog(quiet), 1)(x))
        ours = flat(chip(case.analog(quiet).cuda(), 1)(x.cuda()))
        torch.testing.assert_close(ours.cpu(), expected, rtol=1e-4, atol=1e-4)

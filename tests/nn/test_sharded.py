import copy

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from aimc_lightning.config import ClipConfig, TileConfig
from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.nn.base import analog_tiles, clip_weights_, program_
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.nn.sharded import cut_like, has_shards, make_whole_, whole, whole_parameters
from tests.helpers.processes import NEEDS_FSDP, in_two_processes

pytestmark = [
    NEEDS_FSDP,
    pytest.mark.filterwarnings("ignore:.*use_fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
]

CLIPPED = TileConfig(clip=ClipConfig(type="gaussian", sigma=1.0))


def _model(config=CLIPPED):
    torch.manual_seed(0)
    # Five outputs do not divide by two processes.
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1))
    convert_to_analog(model, config)
    return model


def _shard(model):
    mesh = init_device_mesh("cpu", (2,))
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh, ignored_params=set(layer.analog.parameters()))
    return model


def _assert_same_state(model, expected):
    state = model.state_dict()
    assert state.keys() == expected.keys()
    for name, value in state.items():
        torch.testing.assert_close(whole(value), expected[name], rtol=0, atol=0, msg=name)


def test_whole_parameters_show_a_module_that_was_never_sharded(tmp_path):
    def work(rank):
        expected = _model().state_dict()
        model = _shard(_model())
        assert type(model[0]) is not AnalogLinear
        with whole_parameters(model):
            assert type(model[0]) is AnalogLinear
            assert not has_shards(model)
            # torch forbids these two for a sharded module; strict loading must find no hook of it.
            digital = convert_to_digital(copy.deepcopy(model))
            copy.deepcopy(model).load_state_dict(expected)
            assert type(digital[0]) is nn.Linear
            _assert_same_state(model, expected)
            if rank == 0:
                model.eval()(torch.ones(1, 4))  # without the other process
            model[0].weight.data.zero_()
        assert has_shards(model)
        assert type(model[0]) is not AnalogLinear
        _assert_same_state(model, expected)  # what was written is lost
        model(torch.ones(2, 4)).sum().backward()
        assert whole(model[0].weight.grad).any()

    in_two_processes(tmp_path, work)


def test_written_parameters_are_kept_if_wanted(tmp_path):
    def work(rank):
        model = _shard(_model())
        with whole_parameters(model, write=True):
            model[0].weight.data.copy_(torch.arange(20.0).view(5, 4))
        assert torch.equal(whole(model[0].weight), torch.arange(20.0).view(5, 4))
        assert torch.equal(model[0].weight.to_local(), torch.arange(20.0).view(5, 4).split(3)[rank])

    in_two_processes(tmp_path, work)


def test_sharded_weights_are_clipped_and_programmed_by_whole_columns(tmp_path):
    def work(rank):
        one, model = _model(), _shard(_model())
        clip_weights_(one)
        clip_weights_(model)
        assert not torch.equal(one[0].weight, _model()[0].weight)
        _assert_same_state(model, one.state_dict())
        program_(one, 3)
        program_(model, 3)
        for a, b in zip(*(analog_tiles(m).values() for m in (one, model)), strict=True):
            assert torch.equal(a.chip.weights.weight, b.chip.weights.weight)
            assert torch.equal(a.chip.output_scale, b.chip.output_scale)

    in_two_processes(tmp_path, work)


def test_module_made_whole_can_be_sharded_again(tmp_path):
    def work(rank):
        expected = _model().state_dict()
        model = _shard(_model())
        make_whole_(model)
        _assert_same_state(model, expected)
        assert type(model[0]) is AnalogLinear
        model.load_state_dict(expected)
        model.eval()(torch.ones(2, 4)).sum().backward()
        _shard(model)
        assert has_shards(model)
        _assert_same_state(model, expected)

    in_two_processes(tmp_path, work)


def test_sharded_layers_are_not_swapped(tmp_path):
    def work(rank):
        digital = nn.Sequential(nn.Linear(4, 5))
        fully_shard(digital[0], mesh=init_device_mesh("cpu", (2,)))
        with pytest.raises(ValueError, match="Call convert_to_analog before fully_shard"):
            convert_to_analog(digital)
        with pytest.raises(ValueError, match="Let the run end"):
            convert_to_digital(_shard(_model()))

    in_two_processes(tmp_path, work)


def test_whole_tensor_is_cut_like_another_one(tmp_path):
    def work(rank):
        weight = _shard(_model())[0].weight
        value = torch.arange(20.0).view(5, 4)
        assert torch.equal(cut_like(value, weight).to_local(), value.split(3)[rank])
        assert cut_like(value, value) is value

    in_two_processes(tmp_path, work)


def test_model_without_shards_is_left_alone():
    model = _model()
    weight = model[0].weight
    with whole_parameters(model, write=True):
        assert model[0].weight is weight
    assert whole(weight) is weight

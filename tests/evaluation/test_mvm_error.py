import pytest
import torch

from aimc_lightning.config import TileConfig
from aimc_lightning.evaluation.mvm_error import mvm_error
from aimc_lightning.presets import get_preset

# IBM/aihwkit 1.2.0, tests/golden/mvm_error_00.npz; it ages only the difference of each pair.
REFERENCE = {None: 0.041, 1.0: 0.123, 3600.0: 0.140, 86400.0: 0.157, 31536000.0: 0.196}


@pytest.mark.parametrize(("time_s", "expected"), REFERENCE.items())
def test_standard_tile_has_the_error_of_the_reference(time_s, expected):
    config = TileConfig().with_values({"chip.chain": "collapsed"})
    assert mvm_error(config, time_s) == pytest.approx(expected, abs=0.003)


def test_ideal_tile_has_none():
    assert mvm_error(get_preset("ideal"), None, in_features=32) < 0.01


def test_error_follows_from_the_seed_and_leaves_the_generator_alone():
    state = torch.random.get_rng_state()
    first, again, other = (mvm_error(TileConfig(), None, seed, 32, 8) for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.random.get_rng_state(), state)

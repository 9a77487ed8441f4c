import random

import numpy as np
import torch

from aimc_lightning.integration.randomness import (
    gather_random_states,
    random_state,
    set_random_state,
)


def _draw():
    return torch.rand(3).tolist(), random.random(), random.gauss(0, 1), np.random.rand()  # noqa: NPY002


def test_all_generators_go_back():
    random.gauss(0, 1)  # leaves half a pair behind
    state = random_state()
    first = _draw()
    set_random_state(state)
    assert _draw() == first


def test_state_survives_safe_loading(tmp_path):
    state = random_state()
    first = _draw()
    torch.save(state, tmp_path / "state.pt")
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert _draw() == first


def test_single_process_gathers_its_own_state():
    state = random_state()
    assert gather_random_states(state) == [state]

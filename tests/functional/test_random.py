"""Standard normal numbers from chunked generators."""

import os

import pytest
import torch

from aimc_lightning.functional import random
from aimc_lightning.functional.random import standard_normal_like

LARGE = 2 * random._CHUNK + 12_345  # beyond the size at which the draw is cut into chunks


def _draw(size: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return standard_normal_like(torch.empty(size, dtype=dtype), generator=generator)


@pytest.mark.parametrize("size", [1000, LARGE])
def test_same_seed_gives_the_same_numbers(size):
    assert torch.equal(_draw(size, 5), _draw(size, 5))


@pytest.mark.parametrize("size", [1000, LARGE])
def test_different_seeds_give_different_numbers(size):
    assert not torch.equal(_draw(size, 5), _draw(size, 6))


@pytest.mark.parametrize("size", [1000, LARGE])
def test_one_generator_goes_on(size):
    generator = torch.Generator().manual_seed(0)
    x = torch.empty(size)
    first = standard_normal_like(x, generator=generator)
    assert not torch.equal(first, standard_normal_like(x, generator=generator))


@pytest.mark.parametrize("size", [1000, LARGE])
def test_global_seed_is_obeyed_without_a_generator(size):
    draws = []
    for _ in range(2):
        torch.manual_seed(11)
        draws.append(standard_normal_like(torch.empty(size)))
    assert torch.equal(draws[0], draws[1])


def test_numbers_do_not_depend_on_the_number_of_threads():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        single = _draw(LARGE, 5)
        torch.set_num_threads(4)
        assert torch.equal(_draw(LARGE, 5), single)
    finally:
        torch.set_num_threads(threads)


def test_chunks_are_independent():
    # Correlation of two chunks of 262144 numbers has a standard error of 1 / 512.
    x = _draw(LARGE, 5)
    first, second = x[: random._CHUNK], x[random._CHUNK : 2 * random._CHUNK]
    assert abs(float((first * second).mean())) < 5 / 512


def test_neighbouring_seeds_do_not_share_chunks():
    chunks = _draw(LARGE, 5)[: random._CHUNK].sort().values
    for seed in (4, 6):
        other = _draw(LARGE, seed)
        assert not torch.isin(chunks[:100], other).all()


@pytest.mark.parametrize("size", [100_000, LARGE])
def test_moments_are_those_of_the_standard_normal(size):
    # Standard errors: mean 1/sqrt(N), variance sqrt(2/N), fourth moment sqrt(96/N).
    x = _draw(size, 7, torch.float64)
    root = size**0.5
    assert abs(float(x.mean())) < 5 / root
    assert abs(float(x.square().mean()) - 1) < 5 * 2**0.5 / root
    assert abs(float(x.pow(4).mean()) - 3) < 5 * 96**0.5 / root


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [10, LARGE])
def test_shape_and_dtype_follow_the_argument(dtype, size):
    x = torch.empty(size, 1, dtype=dtype)
    drawn = standard_normal_like(x)
    assert drawn.shape == x.shape
    assert drawn.dtype == dtype


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_process_draws_with_threads_of_its_own():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = _draw(LARGE, 1)[-5:].tolist()  # starts the threads of this process
        child = os.fork()
        if child == 0:
            # OpenMP itself cannot be used after a fork, so only a few numbers are looked at.
            os._exit(0 if _draw(LARGE, 1)[-5:].tolist() == expected else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(threads)

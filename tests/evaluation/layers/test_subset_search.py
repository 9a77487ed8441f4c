import itertools
import math

import numpy as np
import pytest

from aimc_lightning.evaluation.layers.subset_search import search_subset


def _problem(seed, elements):
    """Random costs, and scores in which losses amplify or hide each other."""
    rng = np.random.default_rng(seed)
    costs = [int(cost) for cost in rng.integers(1, 200, elements)]
    losses = 0.03 * rng.exponential(1, elements) ** 2
    power = rng.uniform(0.5, 2)

    def score(subset):
        return 1 - min(sum(losses[i] for i in range(elements) if i not in subset) ** power, 1)

    empty = score(frozenset())
    return costs, score, empty + (1 - empty) * rng.uniform(0.2, 0.97)


def _optimum(costs, score, target):
    subsets = (
        frozenset(s)
        for k in range(len(costs) + 1)
        for s in itertools.combinations(range(len(costs)), k)
    )
    return min(sum(costs[i] for i in s) for s in subsets if score(s) >= target)


@pytest.mark.parametrize("seed", range(8))
def test_cheapest_subset_is_found_among_all_256(seed):
    costs, score, target = _problem(seed, 8)
    found = search_subset(costs, score, target, 36)
    assert sum(costs[i] for i in found.best) == _optimum(costs, score, target)
    assert len(found.scores) <= 36


def test_measurements_are_limited_and_never_repeated():
    calls = []
    costs, score, target = _problem(1, 8)
    found = search_subset(costs, lambda s: (calls.append(s), score(s))[1], target, 10)
    assert len(calls) == len(set(calls)) == len(found.scores) == 10
    assert not found.complete


def test_nothing_is_spared_where_nothing_needs_to_be():
    found = search_subset([3, 4], lambda s: 0.9, 0.9, 4)
    assert (found.best, len(found.scores), found.complete) == (frozenset(), 1, True)


def test_target_out_of_reach_is_found_out():
    found = search_subset([3, 4], lambda s: 0.1 * len(s), 0.9, 20)
    assert found.best is None
    assert found.complete
    assert len(found.scores) == 4


def test_elements_without_any_gain_do_not_stop_the_search():
    found = search_subset([3, 4, 5], lambda s: math.isclose(len(s), 3), 0.9, 20)
    assert found.best == {0, 1, 2}

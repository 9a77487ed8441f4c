import math

import pytest

from aimc_lightning.evaluation.bracket import bracket, crossing


@pytest.mark.parametrize("true", [0.003, 0.07, 0.6])
def test_bracket_closes_around_the_true_limit(true):
    low, high = bracket(lambda x: x <= true, 0.0, 0.005, 1.0, tolerance=0.1, limit=30)
    assert low <= true < high
    assert high - low <= 0.1 * high


def test_bracket_starts_at_the_standard_amount():
    low, high = bracket(lambda x: x <= 1.3, 1.0, 1.0, 20.0, tolerance=0.1)
    assert 1.0 <= low <= 1.3 < high < 1.4


@pytest.mark.parametrize("true", range(6))
def test_whole_bracket_has_neighbouring_amounts(true):
    tried = []
    found = bracket(lambda x: tried.append(x) or x <= true, 0, 1, 6, tolerance=0.1, whole=True)
    assert found == (true, true + 1)
    assert len(tried) == len(set(tried))


def test_bracket_without_limit_is_open():
    assert bracket(lambda _: True, 0, 1, 6, tolerance=0.1) == (6, math.inf)


def test_search_gives_up_after_the_limit():
    tried = []
    bracket(lambda x: tried.append(x) or False, 0.0, 1.0, 2.0, tolerance=0.1, limit=5)
    assert tried == [1.0, 0.5, 0.25, 0.125, 0.0625]


def test_crossing_interpolates():
    assert crossing({2.0: 1.0, 0.0: 0.0}, 0.25) == 0.5
    assert math.isnan(crossing({0.0: 0.0, 2.0: 0.1}, 0.25))

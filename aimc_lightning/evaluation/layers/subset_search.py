"""Search for the cheapest subset that reaches a score, with a limited number of measurements."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize  # type: ignore[import-untyped]

Subset = frozenset[int]


@dataclass
class Search:
    """Outcome of :func:`search_subset`.

    Attributes:
        best: Cheapest subset measured to reach the target; ``None`` if none did.
        scores: Score of every subset that was measured, in this order.
        complete: Whether every cheaper subset is ruled out, if no score falls when a subset grows;
            else the measurements were used up.
    """

    best: Subset | None = None
    scores: dict[Subset, float] = field(default_factory=dict)
    complete: bool = False


def search_subset(
    costs: Sequence[int],
    measure: Callable[[Subset], float],
    target: float,
    evaluations: int,
) -> Search:
    """Find the cheapest subset whose score reaches a target.

    The empty set and each element alone are measured first; what an element gains alone predicts,
    by addition, the scores of subsets. An integer program then proposes the cheapest subset with a
    predicted gain above a threshold, which is bisected between what failed and what was enough:
    interactions shift predictions, but hardly change their order. A subset that failed rules out
    all its subsets, one that was enough all that are not cheaper. Where the threshold leaves none,
    the most promising of the cheaper subsets is measured.

    Args:
        costs: Cost of each element, whole and positive.
        measure: Returns the score of a subset of the indices.
        target: Score to reach.
        evaluations: Largest number of calls of ``measure``, at least two more than elements.

    Example:
        >>> gains = [0.1, 0.3, 0.2]
        >>> found = search_subset([1, 5, 1], lambda s: sum(gains[i] for i in s), 0.29, 10)
        >>> sorted(found.best), len(found.scores), found.complete
        ([0, 2], 5, True)
    """
    search = Search()

    def score(subset: Subset) -> float:
        found = search.scores[subset] = measure(subset)
        if found >= target and (search.best is None or cost(subset) < cost(search.best)):
            search.best = subset
        return found

    def cost(subset: Subset) -> int:
        return sum(costs[i] for i in subset)

    empty = score(frozenset())
    if empty >= target:
        search.complete = True
        return search
    # A tiny gain keeps the order where noise makes a gain negative.
    gains = np.array([max(score(frozenset([i])) - empty, 1e-9) for i in range(len(costs))])
    low, high, threshold = 0.0, float(gains.sum()), target - empty
    while len(search.scores) < evaluations:
        limit = math.inf if search.best is None else cost(search.best)
        failed = [subset for subset, found in search.scores.items() if found < target]
        subset = _Proposer(np.asarray(costs, float), gains, failed, limit).propose(threshold)
        if subset is None:
            search.complete = True
            break
        if subset in search.scores:
            break  # the solver's tolerance: nothing new comes any more
        predicted = float(sum(gains[i] for i in subset))
        if score(subset) >= target:
            high = min(high, predicted)
        else:
            low = max(low, predicted)
        threshold = (low + high) / 2
    return search


class _Proposer:
    """Integer programs over the subsets that are not ruled out."""

    def __init__(
        self, costs: np.ndarray, gains: np.ndarray, failed: list[Subset], limit: float
    ) -> None:
        self._costs, self._gains = costs, gains
        rows, lower, upper = [], [], []
        for subset in failed:  # at least one element that the failed subset lacks
            rows.append([0.0 if i in subset else 1.0 for i in range(len(costs))])
            lower.append(1.0)
            upper.append(np.inf)
        if math.isfinite(limit):
            rows.append(list(costs))
            lower.append(-np.inf)
            upper.append(limit - 0.5)  # strictly cheaper, as costs are whole numbers
        self._allowed = optimize.LinearConstraint(np.array(rows), lower, upper)

    def propose(self, threshold: float) -> Subset | None:
        """Return the cheapest subset with this predicted gain, else that with the largest."""
        enough = optimize.LinearConstraint(self._gains[None], [threshold - 1e-12], [np.inf])
        cheapest = self._solved(self._costs, [self._allowed, enough])
        return self._solved(-self._gains, [self._allowed]) if cheapest is None else cheapest

    def _solved(
        self, objective: np.ndarray, constraints: list[optimize.LinearConstraint]
    ) -> Subset | None:
        found = optimize.milp(
            objective / np.abs(objective).max(), constraints=constraints,
            integrality=np.ones(len(objective)), bounds=optimize.Bounds(0, 1),
        )  # fmt: skip
        if found.x is None:
            return None
        return frozenset(int(i) for i in np.flatnonzero(found.x > 0.5))

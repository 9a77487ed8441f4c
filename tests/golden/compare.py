"""How far results may lie from golden values: exact families and statistical ones."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import norm

EXACT = 1e-6  # of the largest golden value
STEP_SHARE = 1e-3  # of the elements may lie on the other side of a rounding tie
STANDARD_ERRORS = 5.0
OWN_DRAWS = 100_000  # at least, for every statistical law


class Check(NamedTuple):
    """One comparison; passes while ``deviation <= allowed``."""

    label: str
    deviation: float
    allowed: float

    @property
    def ratio(self) -> float:
        """Deviation over what is allowed; above 1 fails, so does NaN."""
        if self.deviation == 0.0:
            return 0.0
        return self.deviation / self.allowed if self.deviation == self.deviation else math.inf


def exact(label: str, ours: object, golden: np.ndarray, allowed: float = EXACT) -> Check:
    """Compare values that differ by floating-point rounding alone, relative to the largest."""
    mine = _numpy(ours)
    _require_shape(label, mine, golden)
    scale = max(float(np.abs(golden).max()), 1e-30)
    return Check(label, float(np.abs(mine - golden).max()) / scale, allowed)


def converted(label: str, ours: object, golden: np.ndarray, step: np.ndarray | float) -> Check:
    """Compare values behind a converter: all equal, save 0.1 % that differ by one step.

    Args:
        label: Name of the values.
        ours: Values of the library.
        golden: Golden values.
        step: Size of one converter step at each value, broadcastable; partial sums of several
            converters have several steps, each element may differ by one.
    """
    mine = _numpy(ours)
    _require_shape(label, mine, golden)
    scale = max(float(np.abs(golden).max()), 1e-30)
    difference = np.abs(mine - golden)
    tolerance = EXACT * scale
    # An element is a tie if it is off by one step of a converter, no more and no less.
    tie = (difference > tolerance) & (difference <= np.broadcast_to(step, golden.shape) + tolerance)
    ties = int(tie.sum())
    if 0 < ties <= max(1, int(STEP_SHARE * golden.size)):
        difference = np.where(tie, 0.0, difference)
        label = f"{label} ({ties} of {golden.size} one step off)"
    return Check(label, float(difference.max()) / scale, EXACT)


def mean_and_std(
    label: str, samples: torch.Tensor, mean: np.ndarray, std: np.ndarray, draws: int
) -> list[Check]:
    """Compare mean and standard deviation over the first axis of samples with golden ones."""
    values = samples.double().numpy()
    moments = Moments.of(values)
    return moments.checks(label, mean, std, draws)


class Moments(NamedTuple):
    """Statistics of our own draws."""

    draws: int
    mean: np.ndarray
    std: np.ndarray
    kurtosis: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """Return the moments over the first axis."""
        mean = values.mean(axis=0)
        square = np.square(values - mean)  # not **4: the general power is far slower
        variance = square.mean(axis=0)
        fourth = np.square(square, out=square).mean(axis=0)
        safe = np.where(variance > 0, variance, 1.0)
        kurtosis = np.where(variance > 0, fourth / safe**2, 3.0)
        draws = values.shape[0]
        return cls(draws, mean, np.sqrt(variance * draws / (draws - 1)), kurtosis)

    def checks(
        self, label: str, mean: np.ndarray, std: np.ndarray, draws: int, *, floor: float = 1e-6
    ) -> list[Check]:
        """Compare with golden moments of ``draws`` draws."""
        return [
            self.mean_check(f"{label} mean", mean, draws, floor),
            self.std_check(f"{label} std", std, draws, floor),
        ]

    def mean_check(self, label: str, mean: np.ndarray, draws: int, floor: float = 1e-6) -> Check:
        """Compare means, in standard errors of both sides."""
        _require_shape(label, self.mean, mean)
        error = self.std * math.sqrt(1 / self.draws + 1 / draws)
        error = error + floor * max(float(np.abs(mean).max()), 1e-30) / STANDARD_ERRORS
        deviation = float((np.abs(self.mean - mean) / error).max())
        return Check(f"{label} [standard errors]", deviation, standard_errors(mean.size))

    def std_check(self, label: str, std: np.ndarray, draws: int, floor: float = 1e-6) -> Check:
        """Compare standard deviations by the logarithm of their ratio.

        Allowed are 2 or 4 per cent, or what the sampling of both sides needs: the logarithm of a
        standard deviation has the standard error sqrt((kurtosis - 1) / (4 draws)).
        """
        _require_shape(label, self.std, std)
        bound = 0.02 if draws >= 200_000 else 0.04
        error = np.sqrt((self.kurtosis - 1) / 4 * (1 / self.draws + 1 / draws))
        allowed = np.maximum(bound, standard_errors(std.size) * error)
        least = floor * max(float(np.abs(self.mean).max()), 1e-30)
        deviation = np.abs(np.log((self.std + least) / (std + least)))
        worst = int(np.argmax(deviation / allowed))
        return Check(
            f"{label} [relative]", float(deviation.flat[worst]), float(allowed.flat[worst])
        )


def quantiles(
    label: str, samples: torch.Tensor, golden: np.ndarray, levels: tuple[float, ...], draws: int
) -> Check:
    """Compare quantiles over the first axis, in standard errors from the local density."""
    values = samples.T.contiguous().sort(dim=1).values.T.double().numpy()
    count = values.shape[0]
    deviations = []
    for column, level in enumerate(levels):
        value, low, high = (
            values[round(position * (count - 1))]
            for position in (level, level - 0.01, level + 0.01)
        )
        spread = (high - low) / 0.02  # one over the density
        error = spread * math.sqrt(level * (1 - level) * (1 / count + 1 / draws))
        error = error + 1e-6 * max(float(np.abs(golden).max()), 1e-30)
        deviations.append(float((np.abs(value - golden[..., column]) / error).max()))
    return Check(f"{label} [standard errors]", max(deviations), standard_errors(golden.size))


def standard_errors(comparisons: int) -> float:
    """Return 5, or more where so many values are compared that 5 would fail by chance.

    With n values the largest of n true deviations exceeds the bound once in a thousand files.
    """
    return max(STANDARD_ERRORS, float(norm.isf(1e-3 / (2 * comparisons))))


def _numpy(values: object) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _require_shape(label: str, ours: np.ndarray, golden: np.ndarray) -> None:
    if ours.shape != golden.shape:
        raise ValueError(f"{label}: our shape {ours.shape} is not the golden shape {golden.shape}")

"""Comparing draws with the law they should follow, in standard errors."""

import numpy as np
import torch

DRAWS = 200_000
STANDARD_ERRORS = 5.0


def generator(seed: int = 1) -> torch.Generator:
    """Return a generator with a fixed seed."""
    return torch.Generator().manual_seed(seed)


def repeated(values: list[float], draws: int = DRAWS) -> torch.Tensor:
    """Return values repeated along a new first axis, shape ``(draws, len(values))``."""
    return torch.tensor(values).expand(draws, -1).clone()


def assert_moments(samples: torch.Tensor, mean: object, std: object) -> None:
    """Require that mean and std over the first axis lie within 5 standard errors of a law."""
    values = samples.double().numpy()
    draws = len(values)
    ours, spread = values.mean(0), values.std(0)
    centred = np.where(spread > 0, (values - ours) / np.where(spread > 0, spread, 1.0), 0.0)
    kurtosis = (centred**4).mean(0)
    mean_error = np.abs(ours - mean) / (np.asarray(std) / np.sqrt(draws) + 1e-7)
    assert mean_error.max() < STANDARD_ERRORS, mean_error
    std_error = np.sqrt(np.maximum(kurtosis - 1, 0) / (4 * draws)) * np.asarray(std) + 1e-7
    deviation = np.abs(spread - std) / std_error
    assert deviation.max() < STANDARD_ERRORS, deviation

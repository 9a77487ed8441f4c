"""Random changes of speech in training."""

import torch
from torch import Tensor
from torch.nn import functional as F


def change_speed(samples: Tensor, generator: torch.Generator) -> Tensor:
    """Return the waveform played 0.9 to 1.1 times as fast, pitch included.

    Source:
        Ko et al., "Audio augmentation for speech recognition", Interspeech 2015.
    """
    size = round(len(samples) / (0.9 + 0.2 * torch.rand((), generator=generator).item()))
    return F.interpolate(samples.view(1, 1, -1), size, mode="linear").flatten()


def mask(features: Tensor, generator: torch.Generator, count: int = 2, width: int = 8) -> Tensor:
    """Set some stretches of time and some of frequency to the mean, which is zero.

    Args:
        features: Shape ``(frames, bins)``.
        generator: Source of the places.
        count: Stretches along each axis.
        width: Largest width, in frames of 10 ms and in bins.

    Source:
        Park et al., "SpecAugment", arXiv 1904.08779.
    """
    features = features.clone()
    for axis in (0, 1):
        for _ in range(count):
            size = min(int(torch.randint(0, width + 1, (), generator=generator)), len(features))
            last = features.shape[axis] - size
            start = int(torch.randint(0, last + 1, (), generator=generator))
            features.narrow(axis, start, size).zero_()
    return features

"""When the training noise comes in and when the input ranges stop moving."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NoiseSchedule:
    """Course of the training weight noise over a run.

    Example:
        >>> schedule = NoiseSchedule(noise_free=1, ramp=4)
        >>> [schedule.factor(epoch) for epoch in range(6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]

    Args:
        unit: What the other values count: epochs, or optimizer steps (not batches, when gradients
            accumulate).
        noise_free: Length of the warm-up without weight noise.
        ramp: Length of the linear rise to the configured noise after the warm-up; 0 switches the
            whole noise on at once.
        freeze_input_range: Epoch or step from which on the learned input ranges stay as they are;
            ``None`` lets them learn to the end.

    Source:
        A linear ramp over the first 20 of 600 epochs is what replications of Rasch et al., Nature
        Communications 14, 5282 (2023), use for ResNet-32; the default is no ramp.
    """

    unit: Literal["epoch", "step"] = "epoch"
    noise_free: int = 0
    ramp: int = 0
    freeze_input_range: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.unit not in ("epoch", "step"):
            raise ValueError(f"unit is {self.unit!r}; it must be 'epoch' or 'step'.")
        for name in ("noise_free", "ramp", "freeze_input_range"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} is {value}; a number of {self.unit}s must be 0 or more.")

    def factor(self, position: int) -> float:
        """Return the factor on the configured weight noise, 0 to 1.

        Args:
            position: Epoch (0 is the first) or number of optimizer steps done, as ``unit`` says.
        """
        if position < self.noise_free:
            return 0.0
        if self.ramp == 0:
            return 1.0
        return min(1.0, (position - self.noise_free + 1) / self.ramp)

    def input_range_is_frozen(self, position: int) -> bool:
        """Return whether the input ranges no longer move."""
        return self.freeze_input_range is not None and position >= self.freeze_input_range

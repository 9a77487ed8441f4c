"""One line of a drift evaluation: a stage at a time, over its chips."""

from dataclasses import dataclass

_NETWORKS = {"direct": "directly mapped", "hwa": "HWA trained"}
_METHODS = {"bn": "batch norm re-estimated", "column": "compensated per column"}


def stage_label(stage: str) -> str:
    """Return what tables and figures call a stage.

    Args:
        stage: ``"digital"``, ``"direct"`` or ``"hwa"``, with what was done to it behind plus signs;
            another name is returned as it is.

    Example:
        >>> stage_label("hwa+bn")
        'HWA trained, batch norm re-estimated'
    """
    network, *methods = stage.split("+")
    return ", ".join([_NETWORKS.get(network, network), *(_METHODS.get(m, m) for m in methods)])


@dataclass(frozen=True)
class DriftSummary:
    """One stage at one time, over its chips.

    Attributes:
        stage: ``"direct"`` or ``"hwa"``, either with ``"+bn"``.
        t_inference_s: Seconds since the end of programming.
        chips: Chips with a finite score.
        nan_chips: Chips whose score was NaN or infinite; they are in no statistic.
        mean: Mean score; NaN without chips.
        std: Standard deviation between chips (n - 1); 0 for a single chip.
        interval: Confidence interval of the mean (Student's t); unbounded for a single chip.
        a_star: Normalised accuracy of the mean as a fraction; ``None`` without a chance level.
        iso_accuracy: Whether ``a_star`` reaches the wanted share; ``None`` like ``a_star``.
    """

    stage: str
    t_inference_s: float
    chips: int
    nan_chips: int
    mean: float
    std: float
    interval: tuple[float, float]
    a_star: float | None
    iso_accuracy: bool | None

"""What the name of a metric says about its direction and its chance level."""

import math
from collections.abc import Mapping

from torch import nn

_LOWER = ("loss", "perplexity", "ppl", "error", "err", "wer", "cer", "mse", "mae", "rmse", "nll")
_SHARES = ("acc", "accuracy", "f1", "precision", "recall", "auroc", "top1", "top5")
_ERROR_SHARES = ("error", "err", "wer", "cer")


def lower_is_better(metric: str) -> bool:
    """Return whether a metric with this name is a loss, a perplexity or an error rate.

    Example:
        >>> lower_is_better("test_loss"), lower_is_better("test_acc")
        (True, False)
    """
    return _has(metric, _LOWER)


def is_share(metric: str) -> bool:
    """Return whether a metric with this name is a share, given as a fraction or in percent.

    Example:
        >>> is_share("val_accuracy"), is_share("perplexity")
        (True, False)
    """
    return _has(metric, _SHARES + _ERROR_SHARES)


def choose_metric(logged: Mapping[str, float], wanted: str | None) -> str:
    """Return the name of the metric to use.

    Args:
        logged: What one pass over the data logged.
        wanted: What the user asked for; ``None`` takes the only one, or the only accuracy.

    Raises:
        ValueError: Lists the metrics the module logs.
    """
    known = ", ".join(sorted(logged)) or "none"
    if wanted is not None:
        if wanted not in logged:
            raise ValueError(
                f"The module does not log the metric {wanted!r}; it logs: {known}. Use self.log in "
                "test_step (or validation_step)."
            )
        return wanted
    if not logged:
        raise ValueError(
            "The module logs no metric in this evaluation. Log one in test_step (or "
            "validation_step), e.g. self.log('test_acc', accuracy)."
        )
    shares = [name for name in logged if _has(name, _SHARES)]
    candidates = list(logged) if len(logged) == 1 else shares
    if len(candidates) != 1:
        raise ValueError(f"Several metrics are logged ({known}); say which one with metric='...'.")
    return candidates[0]


def guess_chance(metric: str, outputs: int) -> float | None:
    """Return the score of a random guess among equally likely classes, as a fraction.

    Args:
        metric: Name of the metric.
        outputs: Number of classes; 1 is taken as a binary decision.

    Returns:
        ``None`` if the name does not tell.

    Example:
        >>> guess_chance("test_acc", 10), guess_chance("perplexity", 50)
        (0.1, 50.0)
    """
    classes = max(outputs, 2)
    if _has(metric, ("acc", "accuracy", "top1")):
        return 1 / classes
    if _has(metric, ("error", "err")):
        return 1 - 1 / classes
    if _has(metric, ("wer", "cer")):
        return 1.0
    if _has(metric, ("perplexity", "ppl")):
        return float(classes)
    if _has(metric, ("nll", "loss")):
        return math.log(classes)
    return None


def last_layer(model: nn.Module) -> tuple[str, int] | None:
    """Return name and number of outputs of the last linear layer, by order of definition."""
    found = None
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            found = (name, module.out_features)
    return found


def _has(metric: str, words: tuple[str, ...]) -> bool:
    parts = metric.lower().replace("/", "_").replace("-", "_").replace(".", "_").split("_")
    return any(part in words for part in parts)

"""The eight tasks of GLUE that are scored: columns, labels, metrics, and score of a guess."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef
from torchmetrics.functional.classification import (
    binary_f1_score,
    binary_matthews_corrcoef,
    multiclass_accuracy,
)


@dataclass(frozen=True)
class Task:
    """One task of GLUE.

    Attributes:
        columns: Columns of the one or two texts.
        outputs: Classes; 1 for a similarity, which is a regression.
        metrics: Names of the metrics whose mean is the score, as on GLUE's own board.
        chance: Score of a random guess, as a fraction of 1.
        test_splits: Parts scored on; labels of GLUE's test parts are not public.
    """

    columns: tuple[str, ...]
    outputs: int = 2
    metrics: tuple[str, ...] = ("accuracy",)
    chance: float = 0.5
    test_splits: tuple[str, ...] = ("validation",)


_PAIR, _BOTH = ("sentence1", "sentence2"), ("validation_matched", "validation_mismatched")
TASKS = {
    "cola": Task(("sentence",), metrics=("matthews",), chance=0.0),
    "mnli": Task(("premise", "hypothesis"), outputs=3, chance=1 / 3, test_splits=_BOTH),
    "mrpc": Task(_PAIR, metrics=("accuracy", "f1")),
    "qnli": Task(("question", "sentence")),
    "qqp": Task(("question1", "question2"), metrics=("accuracy", "f1")),
    "rte": Task(_PAIR),
    "sst2": Task(("sentence",)),
    "stsb": Task(_PAIR, outputs=1, metrics=("pearson", "spearman"), chance=0.0),
}


def check_task(task: str) -> None:
    """Raise ``ValueError`` if there is no such task."""
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}.")


def chances(tasks: Iterable[str]) -> dict[str, float]:
    """Return the score of a random guess for each task.

    Source:
        Rasch et al., Nat. Commun. 14, 5282 (2023): errors of 50 % for two classes whatever the
        metric, 100 % for correlations; the mean of all eight is 64.6 %.

    Example:
        >>> round(1 - sum(chances(TASKS).values()) / len(TASKS), 3)
        0.646
    """
    return {task: TASKS[task].chance for task in tasks}


def task_scores(task: str, answers: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the metrics of one task, each as a fraction of 1.

    Args:
        task: Name of the task.
        answers: Classes, or similarities, of any numeric type, ``(samples,)``.
        labels: True classes, or similarities of 0 to 5, ``(samples,)``.

    Returns:
        From the name of each metric to its value. A correlation that is not defined, because all
        answers are the same, counts as 0, which is its value for a guess.
    """
    kind = TASKS[task]
    if kind.outputs == 1:
        answers, labels = answers.double(), labels.double()
        if answers.min() == answers.max() or labels.min() == labels.max():
            return {name: torch.zeros(()) for name in kind.metrics}
    else:
        answers, labels = answers.long(), labels.long()
    formulas = {
        "accuracy": lambda: multiclass_accuracy(answers, labels, kind.outputs, average="micro"),
        "f1": lambda: binary_f1_score(answers, labels),
        "matthews": lambda: binary_matthews_corrcoef(answers, labels),
        "pearson": lambda: pearson_corrcoef(answers, labels),
        "spearman": lambda: spearman_corrcoef(answers, labels),
    }
    return {name: formulas[name]().float() for name in kind.metrics}

"""Registry of the zoo: what each entry is, and how to build it. Entries are found by themselves."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lightning.pytorch import LightningModule

from aimc_lightning.evaluation.metrics import lower_is_better

_ENTRIES: dict[str, "ModelEntry"] = {}
_found = False


@dataclass(frozen=True)
class ModelEntry:
    """One entry of the zoo.

    Attributes:
        name: Name of the entry, its folder in the zoo and its folder of recipes.
        build: Constructor of the LightningModule, with plain arguments.
        task: What the network does, in a few words.
        metric: Name under which the module logs its score on the test set; the name says whether
            it is an error, as :func:`~aimc_lightning.evaluation.metrics.lower_is_better` reads it.
        chance: Score of a random guess, as a fraction of 1.
        data: Name of the data set.
        licence: Licence of the data, and of third-party weights if the entry can start from them.
        given_weights: Path below ``--data DIR`` of trained digital weights (safetensors) from which
            the digital stage starts when the file is there; None: the stage always trains.
        tasks: Chance of each task, if the entry trains one network for each of several; ``chance``
            is their mean then.
    """

    name: str
    build: Callable[..., LightningModule]
    task: str
    metric: str
    chance: float
    data: str
    licence: str
    given_weights: str | None = None
    tasks: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the chance level, on which normalised accuracy rests."""
        if lower_is_better(self.metric):
            if not 0.0 < self.chance <= 1.0:
                raise ValueError(
                    f"entry {self.name!r}: chance of the error {self.metric!r} must be above 0 and "
                    f"at most 1, got {self.chance}."
                )
        elif not 0.0 <= self.chance < 1.0:
            raise ValueError(
                f"entry {self.name!r}: chance must be at least 0 and below 1, got {self.chance}."
            )


def register_model(
    *,
    task: str,
    metric: str,
    chance: float | Mapping[str, float],
    data: str,
    licence: str,
    given_weights: str | None = None,
) -> Callable[[Callable[..., LightningModule]], Callable[..., LightningModule]]:
    """Return a decorator that registers a constructor under its own function name.

    Args:
        task: See :class:`ModelEntry`, as for the other arguments.
        metric: Logged name of the score.
        chance: Score of a random guess; that of each task for an entry with several.
        data: Name of the data set.
        licence: Licence of the data and of given weights.
        given_weights: Path of trained weights below the data folder, if any.

    Returns:
        The decorator; it gives the constructor back unchanged.

    Raises:
        ValueError: If the name is taken by another constructor.
    """

    def register(build: Callable[..., LightningModule]) -> Callable[..., LightningModule]:
        name = build.__name__
        known = _ENTRIES.get(name)
        if known is not None and known.build.__module__ != build.__module__:
            raise ValueError(
                f"zoo entry {name!r} is registered twice: {known.build.__module__} "
                f"and {build.__module__}. Rename one of them."
            )
        tasks = dict(chance) if isinstance(chance, Mapping) else {}
        mean = sum(tasks.values()) / len(tasks) if isinstance(chance, Mapping) else chance
        _ENTRIES[name] = ModelEntry(
            name, build, task, metric, mean, data, licence, given_weights, tasks
        )
        return build

    return register


def list_models() -> list[str]:
    """Return the names of all entries, sorted.

    Example:
        >>> from aimc_lightning.zoo.registry import list_models
        >>> "resnet8_digits" in list_models()
        True
    """
    _find_entries()
    return sorted(_ENTRIES)


def get_entry(name: str, task: str | None = None) -> ModelEntry:
    """Return the description of one entry.

    Args:
        name: A name of :func:`list_models`.
        task: One of the entry's tasks, whose chance is wanted; None is for their mean.

    Returns:
        The entry.

    Raises:
        ValueError: If there is no such entry or task; the message lists the known ones.
    """
    _find_entries()
    if name not in _ENTRIES:
        close = difflib.get_close_matches(name, _ENTRIES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown model {name!r}: known are {', '.join(list_models())}.{hint}")
    entry = _ENTRIES[name]
    if task is None:
        return entry
    if task not in entry.tasks:
        known = f"its tasks are {', '.join(entry.tasks)}" if entry.tasks else "it has only one task"
        raise ValueError(f"entry {name!r} has no task {task!r}: {known}.")
    return replace(entry, chance=entry.tasks[task])


def get_model(name: str, **arguments: Any) -> LightningModule:  # noqa: ANN401
    """Build an entry's LightningModule.

    Args:
        name: A name of :func:`list_models`.
        **arguments: Passed to the entry's constructor, for example ``weights="net.safetensors"``.

    Returns:
        The digital module.

    Raises:
        ValueError: If there is no such entry.
    """
    return get_entry(name).build(**arguments)


def _find_entries() -> None:
    """Import ``<entry>/model.py`` of each folder of the zoo, once."""
    global _found
    if _found:
        return
    package = importlib.import_module("aimc_lightning.zoo")
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            importlib.import_module(f"{package.__name__}.{module.name}.model")
    _found = True

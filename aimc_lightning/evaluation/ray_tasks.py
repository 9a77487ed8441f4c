"""How an evaluation starts Ray tasks, for sweeps wider than one machine (extra ``ray``)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Trainer


@dataclass(frozen=True)
class RayTasks:
    """Measure each chip as a Ray task of its own.

    Example:
        ``evaluate_drift(trainer, module, datamodule, ray=RayTasks(make_trainer))``, with

        >>> def make_trainer():
        ...     return Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
        >>> RayTasks(make_trainer, num_cpus=2).num_cpus
        2

    Module and data are sent to the tasks once per job, so the data should be small or loaded from
    disk in ``setup``. A task does all that a process alone would do for its chip; the rows are
    those of one process, bit for bit where processor, torch and number of threads are the same.
    Ray is started if it is not; connect to a cluster with ``ray.init`` before.

    Attributes:
        make_trainer: Makes the Trainer of a task, like the one of the evaluation.
        num_cpus: Processor cores that Ray reserves for a task.
        num_gpus: The same of accelerators.
    """

    make_trainer: Callable[[], Trainer]
    num_cpus: float = 1
    num_gpus: float = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if not callable(self.make_trainer):
            raise TypeError(
                f"make_trainer is {self.make_trainer!r}; it must be a function without arguments "
                "that returns a Trainer, for example lambda: Trainer(logger=False)."
            )

    def results(
        self,
        function: Callable[..., Any],
        shared: Sequence[Any],
        parts: Sequence[tuple[Any, ...]],
    ) -> Iterator[Any]:
        """Run a function once per part, each as a task; yield results as they come.

        Args:
            function: Called as ``function(*shared, *part)``.
            shared: Arguments that are sent once.
            parts: Further arguments of each task.

        Yields:
            What the calls return, in the order in which they finish.

        Raises:
            ImportError: If Ray is not installed.
        """
        ray = _ray()
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False)
        remote = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus)(function)
        sent = [ray.put(value) for value in shared]
        waiting = [remote.remote(*sent, *part) for part in parts]
        try:
            while waiting:
                (done, *_), waiting = ray.wait(waiting)
                yield ray.get(done)
        finally:
            for task in waiting:
                ray.cancel(task)


def _ray() -> Any:  # noqa: ANN401 - a module without types
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "Ray tasks need Ray: install it with pip install 'aimc-lightning[ray]'."
        ) from error
    return ray

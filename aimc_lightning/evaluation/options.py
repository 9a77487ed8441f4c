"""Settings of an evaluation, beyond what is measured at which times on how many chips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import LightningModule

from aimc_lightning.config import TileConfig
from aimc_lightning.evaluation.ray_tasks import RayTasks
from aimc_lightning.selection import Selector


@dataclass(frozen=True)
class DriftOptions:
    """What :func:`~aimc_lightning.evaluation.sweep.evaluate_drift` takes as keywords.

    Example:
        >>> DriftOptions(metric="test_acc", chance=0.1).share
        0.99

    Attributes:
        metric: Name of a logged metric; ``None`` takes the only one, or the only accuracy.
        chance: Score of a random guess, in the metric's own unit; ``None`` derives it from the
            number of outputs where the metric's name allows, and says so.
        digital: Score of the digital model, or the digital module itself; ``None`` takes
            ``direct``, or else the trained weights computed digitally.
        direct: Digital module to measure as well, mapped without retraining on a copy, with the
            layers and settings of the analog module; its input ranges are set from training
            batches.
        config: Settings to map a module with that is digital itself; ``include``, ``exclude`` and
            ``layers`` choose its layers as in :func:`~aimc_lightning.conversion.convert_to_analog`.
        seed: From which chips and noise follow.
        share: Normalised accuracy that counts as iso-accurate.
        csv_path: File to which each finished row is appended, and from which a sweep goes on.
        progress: Show a progress bar with the time left.
        recalibrate: What to do to the network without training it, in further stages: a name or
            several of :data:`~aimc_lightning.evaluation.variants.METHODS`, joined by ``+`` to
            combine them. ``("batch_norm", "column+batch_norm")`` adds the stages ``hwa+bn`` and
            ``hwa+column+bn``, and the same of ``direct`` if that is measured.
        recalibration_batches: Training batches for it.
        ray: Measure the chips as Ray tasks; ``None``: in the processes of the Trainer.
    """

    metric: str | None = None
    chance: float | None = None
    digital: float | LightningModule | None = None
    direct: LightningModule | None = None
    config: TileConfig | str = "standard_pcm"
    include: Sequence[Selector] | None = None
    exclude: Sequence[Selector] = ()
    layers: Mapping[str, TileConfig | str | None] | None = None
    seed: int = 0
    share: float = 0.99
    csv_path: str | Path | None = None
    progress: bool = True
    recalibrate: str | Sequence[str] | None = None
    recalibration_batches: int = 20
    ray: RayTasks | None = None

    @property
    def given_score(self) -> float | None:
        """The digital score, if it was given as a number."""
        given = self.digital
        return None if given is None or isinstance(given, LightningModule) else float(given)

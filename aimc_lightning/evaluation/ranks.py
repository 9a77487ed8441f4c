"""Share the rows of a sweep over the processes of a distributed run, each working on its own.

Split over processes, a pass would sum read noise of other samples, repeat samples where the data
set is not divisible, and depend on how metrics are synchronised. So every process runs whole
passes over the whole data set, on chips of its own: the rows are those of one process, bit for bit,
whatever the size of the data set, and take the fraction of its time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loops import _EvaluationLoop
from torch.utils.data.distributed import DistributedSampler

from aimc_lightning.evaluation.rows import DriftRow
from aimc_lightning.nn.sharded import whole_parameters


@dataclass(frozen=True)
class Ranks:
    """The processes of a run.

    Example:
        >>> Ranks().shares([4, 7])
        [[4], [7]]
        >>> Ranks(rank=1, size=2).shares([4, 7, 9])
        [[7], []]

    Attributes:
        rank: This process.
        size: Number of processes.
        world: Process group of all of them; ``None`` for one process.
    """

    rank: int = 0
    size: int = 1
    world: Any = None

    def shares(self, chips: list[int]) -> list[list[int]]:
        """Return what this process measures in each round, one chip or none."""
        starts = range(0, len(chips), self.size)
        return [chips[start : start + self.size][self.rank : self.rank + 1] for start in starts]

    def rows_of_others(self, rows: list[DriftRow]) -> list[DriftRow]:
        """Return what the other processes measured; all have to call it."""
        if self.world is None:
            return []
        gathered: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(gathered, rows, group=self.world)
        return [row for rank, part in enumerate(gathered) if rank != self.rank for row in part]


@contextmanager
def each_rank_alone(trainer: Trainer, loop: _EvaluationLoop) -> Iterator[Ranks]:
    """Let every process run an evaluation loop by itself, on the whole data set.

    Args:
        trainer: Trainer past its set-up.
        loop: The loop that will run.

    Yields:
        The processes, to share out the work and gather the results.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not distributed or torch.distributed.get_world_size() == 1:
        yield Ranks()
        return
    world = torch.distributed.group.WORLD
    ranks = Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size(), world)
    # A pass through sharded layers would wait for the others as well.
    with whole_parameters(trainer.lightning_module):
        yield from _without_others(trainer, loop, ranks)


def _without_others(trainer: Trainer, loop: _EvaluationLoop, ranks: Ranks) -> Iterator[Ranks]:
    alone, _ = torch.distributed.new_subgroups(group_size=1)
    connector, strategy = trainer._accelerator_connector, trainer.strategy
    sampling, wrapped = connector.use_distributed_sampler, strategy.model
    loader, max_batches = loop._combined_loader, loop._max_batches
    connector.use_distributed_sampler = False
    strategy.model = trainer.lightning_module  # DDP's wrapper would wait for the others
    loop._combined_loader = None
    # The default group is what metrics, loops and user code synchronise over.
    torch.distributed.group.WORLD = alone
    try:
        yield ranks
    finally:
        torch.distributed.group.WORLD = ranks.world
        loop._combined_loader, loop._max_batches = loader, max_batches
        connector.use_distributed_sampler, strategy.model = sampling, wrapped


def check_whole_data(loop: _EvaluationLoop) -> None:
    """Raise if a data loader hands out a part of the data set only.

    Raises:
        ValueError: Names the sampler and the remedy.
    """
    combined = loop._combined_loader
    for loader in [] if combined is None else combined.flattened:
        sampler = getattr(loader, "sampler", None)
        if isinstance(sampler, DistributedSampler) and sampler.num_replicas > 1:
            raise ValueError(
                f"The data loader brings a {type(sampler).__name__} for {sampler.num_replicas} "
                "processes, so each would measure a part of the data. Chips are measured on whole "
                "data sets and shared over processes: give a loader without it."
            )

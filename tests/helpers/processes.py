"""Run a function in two processes that talk over gloo."""

import inspect

import pytest
import torch
from torch.distributed.fsdp import fully_shard

NEEDS_FSDP = pytest.mark.skipif(
    "ignored_params" not in inspect.signature(fully_shard).parameters,
    reason="FSDP2 of torch 2.6 cannot leave parameters out, so there is no 'aimc_fsdp'",
)


def _work(rank, folder, function):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    try:
        function(rank)
    finally:
        torch.distributed.destroy_process_group()


def in_two_processes(folder, function):
    """Call ``function(rank)`` in two forked processes; an error in one of them is raised here."""
    torch.multiprocessing.start_processes(
        _work, args=(folder, function), nprocs=2, start_method="fork"
    )

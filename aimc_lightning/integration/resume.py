"""Continue an interrupted training run with the same data order and the same noise.

Lightning restores weights, optimizers and counters. It restores neither the random number
generators nor the place inside an epoch: after a checkpoint in the middle of an epoch a plain
data loader starts again at its first batch. This module adds both.
"""

import os
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.distributed.tensor import DTensor

from aimc_lightning.integration.loop_progress import (
    count_next_epoch,
    keep_random_state_in_fast_forward,
)
from aimc_lightning.integration.randomness import (
    gather_random_states,
    random_state,
    separate_ranks,
    set_random_state,
)
from aimc_lightning.nn.base import analog_tiles

_GLOBAL_SEED = "PL_GLOBAL_SEED"  # where Lightning keeps it


class TrainingStream:
    """Random numbers and data order of the training loop, kept across checkpoints.

    Two states are kept: the one before the iterator of the running epoch was made, from which the
    order of the data follows, and the one after the last batch, from which the noise of the next
    batch follows. A resumed run makes the iterator from the first, skips the batches already seen,
    and goes on from the second. Validation during fit leaves the second one as it found it, so how
    often one validates does not change the trained weights.

    Not restored: random numbers drawn inside data loader workers with ``persistent_workers=True``
    (their generators live across epochs), and streams (``IterableDataset``) whose order is not
    repeatable. A loader with ``state_dict`` and ``load_state_dict`` is left to Lightning.
    """

    def __init__(self) -> None:
        self._epoch_start: dict[str, Any] | None = None
        self._epoch_generators: list[Tensor] = []
        self._after_batch: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None
        self._between_epochs: dict[str, Any] | None = None

    def state_dict(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs; call it on every rank.

        Args:
            trainer: The running Trainer.
            module: Its module; its gradients are kept if the checkpoint falls between two batches
                whose gradients are accumulated.
        """
        now, generators_now = random_state(), _generator_states(trainer)
        if self._between_epochs is not None:  # the next epoch's iterator is made already
            now = self._between_epochs["now"]
            generators_now = self._between_epochs["generators_now"]
        elif trainer.validating and self._after_batch is not None:
            now = self._after_batch
        start = self._epoch_start if self._epoch_start is not None else now
        return {
            "now": gather_random_states(now),
            "epoch_start": gather_random_states(start),
            "generators_now": generators_now,
            "generators_epoch_start": [state.clone() for state in self._epoch_generators],
            "global_seed": os.environ.get(_GLOBAL_SEED),
            "between_steps": _between_steps(trainer, module),
        }

    def load_state_dict(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint; it is applied when training starts."""
        ranks = len(state["now"])
        if ranks != trainer.world_size:
            rank_zero_warn(
                f"The checkpoint was written by {ranks} processes, this run has "
                f"{trainer.world_size}: training goes on with other noise and data order. For an "
                f"exact continuation use {ranks} processes."
            )
            return
        _set_global_seed(state["global_seed"])
        rank = trainer.global_rank
        self._loaded = {
            **state,
            "now": state["now"][rank],
            "epoch_start": state["epoch_start"][rank],
        }

    def on_fit_start(self) -> None:
        """Start a run; call before the training data loader is made."""
        self._after_batch = self._between_epochs = None
        if self._loaded is not None:
            set_random_state(self._loaded["epoch_start"])
        else:
            separate_ranks()
        self._epoch_start = random_state()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Bring a resumed run to the place where it was interrupted."""
        if self._loaded is None:
            self._epoch_generators = _generator_states(trainer)
            return
        state, self._loaded = self._loaded, None
        keep_random_state_in_fast_forward(trainer)
        if state["between_steps"]:
            _restore_between_steps(module, state["between_steps"][trainer.global_rank])
        self._after_batch = state["now"]
        progress = trainer.fit_loop.epoch_loop.batch_progress
        seen = progress.current.processed  # type: ignore[attr-defined]
        if seen and not progress.is_last_batch and seen < trainer.num_training_batches:
            self._epoch_start = state["epoch_start"]
            self._epoch_generators = state["generators_epoch_start"]
            _skip_batches(trainer, state, seen)
            set_random_state(state["now"])
        else:
            count_next_epoch(trainer)
            self._between_epochs = state
            self._start_epoch_from(trainer, state)
            _set_epoch(trainer)
            _make_iterator(trainer)

    def on_train_epoch_start(self, trainer: Trainer) -> None:
        """Note the state from which the order of the coming epoch follows."""
        fit_loop = trainer.fit_loop
        if trainer.current_epoch == 0 or fit_loop.is_resuming or fit_loop.epoch_loop.restarting:
            return  # Lightning uses the iterator that it made before on_train_start
        if self._between_epochs is not None:
            # Lightning makes the iterator a second time: let it find the same state.
            self._start_epoch_from(trainer, self._between_epochs)
        else:
            self._epoch_start = random_state()
            self._epoch_generators = _generator_states(trainer)

    def on_train_batch_end(self) -> None:
        """Note the state from which the noise of the next batch follows."""
        self._between_epochs = None
        self._after_batch = random_state()

    def on_validation_end(self, trainer: Trainer) -> None:
        """Undo what validation drew from the generators of the training loop."""
        if self._after_batch is not None and not trainer.sanity_checking:
            set_random_state(self._after_batch)

    def _start_epoch_from(self, trainer: Trainer, state: dict[str, Any]) -> None:
        set_random_state(state["now"])
        _set_generator_states(trainer, state["generators_now"])
        self._epoch_start = state["now"]
        self._epoch_generators = state["generators_now"]


def _set_global_seed(seed: str | None) -> None:
    """Put back the seed of ``seed_everything``, from which Lightning's distributed sampler orders.

    It is read when the data loaders are made, after the checkpoint was loaded.
    """
    if seed is None:
        os.environ.pop(_GLOBAL_SEED, None)
    else:
        os.environ[_GLOBAL_SEED] = seed


def _loaders(trainer: Trainer) -> list[Any]:
    combined = trainer.fit_loop._combined_loader
    return [] if combined is None else list(combined.flattened)


def _generators(trainer: Trainer) -> list[torch.Generator]:
    """Return the generators that users handed to their data loaders and samplers, once each."""
    found: dict[int, torch.Generator] = {}
    for loader in _loaders(trainer):
        for owner in (loader, getattr(loader, "sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
    return list(found.values())


def _generator_states(trainer: Trainer) -> list[Tensor]:
    return [generator.get_state() for generator in _generators(trainer)]


def _set_generator_states(trainer: Trainer, states: list[Tensor]) -> None:
    for generator, state in zip(_generators(trainer), states, strict=False):
        generator.set_state(state.cpu())


def _set_epoch(trainer: Trainer) -> None:
    """Tell samplers the epoch, which Lightning does only after ``on_train_start``."""
    for loader in _loaders(trainer):
        batch_sampler = getattr(loader, "batch_sampler", None)
        owners = (
            getattr(loader, "sampler", None),
            batch_sampler,
            getattr(batch_sampler, "sampler", None),
        )
        for owner in owners:
            set_epoch = getattr(owner, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(trainer.current_epoch)


def _fetcher(trainer: Trainer) -> Any:  # noqa: ANN401 - a private class of Lightning
    return trainer.fit_loop._data_fetcher


def _make_iterator(trainer: Trainer) -> None:
    iter(_fetcher(trainer))


def _skip_batches(trainer: Trainer, state: dict[str, Any], seen: int) -> None:
    """Make the epoch's iterator as it was and pass over the batches already trained on."""
    loaders = _loaders(trainer)
    if loaders and all(hasattr(loader, "load_state_dict") for loader in loaders):
        # Lightning restores them when it makes them, and has no state yet if a module asks for
        # estimated_stepping_batches in configure_optimizers.
        if trainer.fit_loop._combined_loader_states_to_load:
            trainer.fit_loop._load_combined_loader_states()
            _make_iterator(trainer)
        return
    fetcher = _fetcher(trainer)
    if trainer.current_epoch > 0:
        set_random_state(state["epoch_start"])
        _set_generator_states(trainer, state["generators_epoch_start"])
        _set_epoch(trainer)
        _make_iterator(trainer)
    # In the first epoch the iterator was made from the right state, see on_fit_start.
    rank_zero_info(f"Resuming inside epoch {trainer.current_epoch}: skipping {seen} batches.")
    for _ in range(seen):
        next(fetcher)
    # Lightning adds the number of batches seen itself when the epoch loop starts.
    fetcher.fetched = 0


def _between_steps(trainer: Trainer, module: LightningModule) -> list[dict[str, Any]]:
    """Return gradients and held noise of each process, if gradients are being accumulated.

    Returns:
        One entry per rank, on rank 0, which writes the checkpoint; empty after optimizer steps.
    """
    progress = trainer.fit_loop.epoch_loop.batch_progress
    stepped = progress.current.ready % trainer.accumulate_grad_batches == 0
    if stepped or progress.is_last_batch:
        return []
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    if any(isinstance(gradient, DTensor) for gradient in gradients.values()):
        rank_zero_warn(
            "This checkpoint falls between two accumulated batches; sharded gradients are not "
            "kept, so a run resumed from it is not an exact continuation. Save after optimizer "
            "steps instead (every_n_train_steps)."
        )
        return []
    held = {name: t._held for name, t in analog_tiles(module).items() if t._held is not None}
    own = {
        "gradients": {name: value.detach().cpu().clone() for name, value in gradients.items()},
        "held_noise": {name: value.detach().cpu().clone() for name, value in held.items()},
    }
    if trainer.world_size == 1:
        return [own]
    ranks: list[Any] | None = [None] * trainer.world_size if trainer.global_rank == 0 else None
    torch.distributed.gather_object(own, ranks)
    return ranks or []


def _restore_between_steps(module: LightningModule, state: dict[str, Any]) -> None:
    parameters, tiles = dict(module.named_parameters()), analog_tiles(module)
    for name, gradient in state["gradients"].items():
        parameters[name].grad = gradient.to(parameters[name].device)
    for name, noisy_weight in state["held_noise"].items():
        tiles[name]._held = noisy_weight.to(tiles[name].input_range.device)

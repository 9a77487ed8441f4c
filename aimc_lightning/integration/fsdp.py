"""The Lightning strategy ``aimc_fsdp``: analog layers whose weights are cut over processes."""

import functools
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins.collectives.torch_collective import default_pg_timeout
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import Selector
from aimc_lightning.integration.launch import ConvertingLauncher, add_callback
from aimc_lightning.integration.settings import analog_settings
from aimc_lightning.integration.sharding import (
    average_gradients_,
    clip_gradient_norm_,
    clip_gradient_value_,
    cut_optimizer_state,
    gathered_state,
    shard_layers_,
    take_from_first_rank_,
)
from aimc_lightning.nn.sharded import cut_like, has_shards, make_whole_

_PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "16-true")


class AimcFSDPStrategy(ModelParallelStrategy):
    """Several processes that share the weights of analog layers: ``Trainer(strategy="aimc_fsdp")``.

    The module need not know of sharding: before training the weights of its analog layers are cut
    over all devices by torch's ``fully_shard``, with their gradients and optimizer state, and after
    it the module at hand is whole again. Ranges and scales of the tiles and digital layers stay
    whole in every process, and their gradients are averaged; so are ranges set from the first
    batches. Column maxima, clipping and programming use the whole weights, layer by layer.
    Checkpoints are those of one process: one file, loadable and resumable with any strategy.

    A module may call ``fully_shard`` itself in ``configure_model``, on layers that it converted
    with ``convert_to_analog`` before, with its scalar parameters as ``ignored_params``; then
    nothing more is cut.

    It is built on Lightning's ``ModelParallelStrategy``, that is FSDP2, and not on
    ``FSDPStrategy``: FSDP1 flattens weights, ranges and scales of a layer into one vector, which
    has neither columns to take maxima of nor a scalar to leave out, and Lightning refuses it
    without a GPU. FSDP2 cuts parameters one by one, keeps their names and runs on CPUs (gloo).

    By name there is also ``aimc_fsdp_fork``, for notebooks and short runs on CPUs.

    Example:
        >>> Trainer(strategy=AimcFSDPStrategy(exclude=["head"]), devices=2)  # doctest: +SKIP

    Args:
        config: As for :class:`~aimc_lightning.integration.strategy.AimcStrategy`.
        preset: The same.
        include: The same.
        exclude: The same.
        layers: The same.
        process_group_backend: Backend of torch.distributed; ``None`` takes the device's own.
        timeout: Time after which processes give up waiting for each other.
        start_method: ``"popen"`` starts the script again for each process; ``"fork"`` or
            ``"spawn"``, as for :class:`~aimc_lightning.integration.strategy.AimcDDPStrategy`.

    Raises:
        ImportError: If torch is older than 2.7, which cannot leave parameters out.
    """

    #: Tells ``check_trainer`` that sharded weights are no reason to refuse.
    gathers_weights = True

    def __init__(
        self,
        config: TileConfig | None = None,
        preset: str | None = None,
        include: Sequence[Selector] | None = None,
        exclude: Sequence[Selector] = (),
        layers: Mapping[str, TileConfig | str | None] | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = default_pg_timeout,
        start_method: Literal["popen", "fork", "spawn"] = "popen",
    ) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )
        _require_ignored_parameters()
        self.analog_settings = analog_settings(config, preset, include, exclude, layers)
        self._start_method = start_method
        self._cut_by_us = False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Whether Lightning restores the optimizers: yes, from the format of one process."""
        return True

    def connect(self, model: LightningModule) -> None:
        """Let the Trainer train the model as an analog one."""
        add_callback(model.trainer, self.analog_settings)
        super().connect(model)

    def setup_environment(self) -> None:
        """Connect the processes: all of them share each layer."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        """Cut the weights, unless the module has done so, and make the optimizers.

        Raises:
            ValueError: If the precision cannot be used with sharded weights.
        """
        module = trainer.lightning_module
        if trainer.precision not in _PRECISIONS:
            raise ValueError(
                f"precision={trainer.precision!r} cannot be used with sharded weights. Use one of "
                f"{', '.join(_PRECISIONS)}, or strategy='aimc_ddp'."
            )
        if isinstance(self.launcher, ConvertingLauncher):
            self.launcher.check_parameters(module)
        self._cut_by_us = not has_shards(module)
        if self._cut_by_us:
            self.model_to_device()
            # Unlike DDP, torch would keep the part that each process happened to initialise.
            take_from_first_rank_(itertools.chain(module.parameters(), module.buffers()))
            shard_layers_(module, self.device_mesh["data_parallel"])
        for name, clip in _CLIPS.items():
            vars(self.precision_plugin)[name] = functools.partial(clip, self.precision_plugin)
        with _configured(module):
            super().setup(trainer)

    def teardown(self) -> None:
        """Give the module whole weights again."""
        module = self.lightning_module
        for name in _CLIPS:
            vars(self.precision_plugin).pop(name, None)
        # Not after an error in one process: the others would not take part.
        if module is not None and self._cut_by_us and not module.trainer.interrupted:
            make_whole_(module)
            module.cpu()
            self._cut_by_us = False
        super().teardown()

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average the gradients that torch leaves alone."""
        assert self.lightning_module is not None
        average_gradients_(self.lightning_module)

    def on_validation_start(self) -> None:
        """Let all processes validate with the buffers of the first, as under DDP."""
        assert self.lightning_module is not None
        take_from_first_rank_(self.lightning_module.buffers())

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the state of the module as one process has it; empty but on rank 0."""
        assert self.lightning_module is not None
        return gathered_state(self.lightning_module.state_dict(), self.is_global_zero)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state of an optimizer as one process has it; empty but on rank 0."""
        optimizer = getattr(optimizer, "_optimizer", optimizer)  # Lightning's wrapper
        return gathered_state(optimizer.state_dict(), self.is_global_zero)

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint file; its tensors are cut when they are loaded."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load the weights of a checkpoint of any number of processes."""
        module = self.lightning_module
        assert module is not None
        own = dict(module.named_parameters(remove_duplicate=False))
        state = {
            name: cut_like(value, own[name]) if name in own else value
            for name, value in checkpoint["state_dict"].items()
        }
        module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load the optimizers of a checkpoint of any number of processes."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(cut_optimizer_state(state, optimizer))

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if self._start_method != "popen":
            self._launcher = ConvertingLauncher(self, self._start_method)


def _require_ignored_parameters() -> None:
    # Imported here, since builds of torch without distributed training lack it.
    from torch.distributed.fsdp import fully_shard

    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise ImportError(
            f"strategy='aimc_fsdp' needs torch 2.7 or newer, this is {torch.__version__}. Update "
            "torch, or use strategy='aimc_ddp'."
        )


def _clip_by_norm(precision: Any, optimizer: Optimizer, clip_val: float) -> None:  # noqa: ANN401
    clip_gradient_norm_(precision.main_params(optimizer), clip_val)


def _clip_by_value(precision: Any, optimizer: Optimizer, clip_val: float) -> None:  # noqa: ANN401
    clip_gradient_value_(precision.main_params(optimizer), clip_val)


# In place of the methods of Lightning's precision plugins, as torch does not take sharded and whole
# gradients together.
_CLIPS = {"clip_grad_by_norm": _clip_by_norm, "clip_grad_by_value": _clip_by_value}


@contextmanager
def _configured(module: LightningModule) -> Iterator[None]:
    """Let the module seem to have cut itself in ``configure_model``, on which Lightning insists."""
    if is_overridden("configure_model", module):
        yield
        return
    vars(module)["configure_model"] = lambda: None
    try:
        yield
    finally:
        vars(module).pop("configure_model", None)

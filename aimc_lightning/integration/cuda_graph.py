"""Training passes of a network recorded once as CUDA graphs and then replayed.

The hardware model is many small kernels, and on a GPU Python takes longer to launch them than they
run. A graph launches all of them at once.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.integration.randomness import random_state, set_random_state
from aimc_lightning.integration.submodule import submodule
from aimc_lightning.tiles.tile import AnalogTile


class CudaGraph(Callback):
    """Replays forward and backward pass of one submodule in training, analog or digital.

    Example:
        >>> callbacks = [AnalogTraining(), CudaGraph("network")]

    Once noise and input ranges have settled and two batches had one shape, both passes are
    recorded. Weights, buffers and random numbers are what they were before.
    Inputs of other shapes, such as those of a last batch, validation and test run as without it,
    and so does everything where it cannot serve: without CUDA, in several processes, and with
    accumulated gradients, which would lie in memory that the graph writes to again.

    Args:
        module: Name of the submodule, such as ``network``. It is called with tensors alone.

    Raises:
        ValueError: If there is no such submodule, or if it stands before ``AnalogTraining``, which
            decides what is recorded.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self._network: nn.Module | None = None
        self._samples: list[tuple[Any, ...]] = []
        self._autocast: torch.dtype | None = None
        self._state: list[Any] = []
        self._off = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the order of callbacks."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(c, AnalogTraining) for c in callbacks[callbacks.index(self) :]):
            raise ValueError(
                "CudaGraph stands before AnalogTraining in callbacks but must stand behind it: "
                "AnalogTraining sets what is recorded."
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try anew in a new run."""
        self._release()
        submodule(pl_module, self.module, "CudaGraph")
        self._off = not _can_record(pl_module)
        if self._off:
            return
        reason = None
        if trainer.accumulate_grad_batches != 1:
            reason = "gradients are accumulated"
        elif trainer.world_size > 1:
            reason = "there are several processes"
        if reason is not None:
            rank_zero_warn(f"Passes of {self.module!r} are not recorded as CUDA graphs: {reason}.")
            self._off = True

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Record the passes as soon as nothing that Python decides changes any more."""
        if self._off:
            return
        network = submodule(pl_module, self.module, "CudaGraph")
        before, self._state = self._state, _state(network)
        if self._state != before:
            self._release()
        elif self._state and self._network is None:
            # Two batches of one form: a single one may be the odd last batch of an epoch.
            if len(self._samples) == 2 and _form(self._samples[0]) == _form(self._samples[1]):
                self._record(network)
            else:
                self._watch(network)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the module as it was."""
        self._release()

    on_exception = teardown  # type: ignore[assignment]  # the third argument is not used

    def _watch(self, network: nn.Module) -> None:
        def look(_: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            handle.remove()
            if not keywords and all(isinstance(x, Tensor) for x in tree_flatten(inputs)[0]):
                self._samples = [*self._samples[-1:], inputs]
                on = torch.is_autocast_enabled("cuda")
                self._autocast = torch.get_autocast_dtype("cuda") if on else None

        handle = network.register_forward_pre_hook(look, with_kwargs=True)

    def _record(self, network: nn.Module) -> None:
        sample, self._samples = self._samples[-1], []
        inputs = tree_map(lambda x: x.detach().clone().requires_grad_(x.requires_grad), sample)
        buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
        random = random_state()
        original = network.forward
        try:
            with self._precision():
                torch.cuda.make_graphed_callables(network, inputs, allow_unused_input=True)
        except (RuntimeError, AssertionError) as error:
            rank_zero_warn(f"Passes of {self.module!r} are not recorded as CUDA graphs: {error}")
            vars(network).pop("forward", None)
            self._off = True
            return
        finally:
            set_random_state(random)
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
        # Gradients that come from a replay lie on another stream than those of passes before it,
        # which the engine waits for and warns of.
        if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):
            torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        replay, expected = network.forward, _form(inputs)

        def forward(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - as the network's
            same = not keywords and network.training and torch.is_grad_enabled()
            same = same and _form(arguments) == expected
            return (replay if same else original)(*arguments, **keywords)

        vars(network)["forward"] = forward
        self._network = network
        rank_zero_info(f"Training passes of {self.module!r} are replayed from CUDA graphs.")

    def _precision(self) -> AbstractContextManager[Any]:
        on = self._autocast is not None
        return torch.autocast("cuda", self._autocast, enabled=on, cache_enabled=False)

    def _release(self) -> None:
        if self._network is not None:
            vars(self._network).pop("forward", None)
        self._network, self._samples = None, []


def _can_record(module: LightningModule) -> bool:
    return module.device.type == "cuda"


def _state(network: nn.Module) -> list[Any]:
    """Return what is recorded with the passes, an empty list while input ranges are set."""
    modules = list(network.modules())
    tiles = [module for module in modules if isinstance(module, AnalogTile)]
    if any(tile.initializing for tile in tiles):
        return []
    return [tile.noise_scale for tile in tiles] + [module.training for module in modules]


def _form(inputs: Any) -> Any:  # noqa: ANN401 - nested tuples of tensors
    leaves, structure = tree_flatten(inputs)
    return structure, [
        (x.shape, x.dtype, x.device, x.requires_grad) if isinstance(x, Tensor) else None
        for x in leaves
    ]

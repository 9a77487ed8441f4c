"""Find the analog layer where a NaN or an infinity comes in."""

from collections.abc import Callable
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from aimc_lightning.nn.base import analog_layers
from aimc_lightning.nn.sharded import local_part


def check_weights(model: nn.Module) -> None:
    """Raise if a parameter of an analog layer is NaN or infinite.

    Costs one reduction per parameter and one host synchronisation; call it once per epoch or when
    something looks wrong. Of sharded weights each process looks at its part.

    Args:
        model: Model with analog layers.

    Raises:
        ValueError: Names every parameter concerned.
    """
    named = [
        (f"{layer_name}.{name}", parameter)
        for layer_name, layer in analog_layers(model).items()
        for name, parameter in layer.named_parameters()
    ]
    if not named:
        return
    device = named[0][1].device
    flags = torch.stack([_is_finite(local_part(p)).to(device) for _, p in named]).tolist()
    bad = [name for (name, _), finite in zip(named, flags, strict=True) if not finite]
    if bad:
        raise ValueError(
            f"NaN or infinity in {', '.join(bad[:5])}{' and others' if len(bad) > 5 else ''}. "
            "Weights, input ranges and scales must be finite: go back to the last good checkpoint, "
            "then lower the learning rate or clip gradients."
        )


class InputWatch:
    """Watches what the analog layers of a model receive, for a few batches.

    Flags stay on the device; only :meth:`stop` synchronises.

    Args:
        model: Model with analog layers.
    """

    def __init__(self, model: nn.Module) -> None:
        self._flags: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = [
            layer.register_forward_pre_hook(self._hook(name))
            for name, layer in analog_layers(model).items()
        ]

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            for x in inputs:
                if isinstance(x, Tensor) and x.is_floating_point():
                    bad = ~_is_finite(x)
                    known = self._flags.get(name)
                    self._flags[name] = bad if known is None else known | bad

        return note

    def close(self) -> None:
        """Stop watching without a verdict."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def stop(self) -> None:
        """Stop watching and raise if a layer received a NaN or an infinity.

        Raises:
            ValueError: Names the first such layer in the order of the forward pass.
        """
        self.close()
        bad = [name for name, flag in self._flags.items() if bool(flag)]
        if bad:
            raise ValueError(
                f"Layer {bad[0]!r} received NaN or infinity in its input"
                f"{f' (and {len(bad) - 1} layers after it)' if len(bad) > 1 else ''}. Inputs must "
                "be finite: look at the batch and at what runs before this layer."
            )


def batch_is_finite(batch: Any) -> Tensor:  # noqa: ANN401 - batches have any form
    """Return a boolean scalar: whether every floating-point tensor of a batch is finite.

    Args:
        batch: Tensor or nested collection of tensors.

    Returns:
        Boolean tensor on the batch's device; nothing is synchronised.
    """
    flags: list[Tensor] = []
    apply_to_collection(batch, Tensor, lambda x: flags.append(_is_finite(x)))
    if not flags:
        return torch.tensor(True)
    device = flags[0].device
    return torch.stack([flag.to(device) for flag in flags]).all()


def _is_finite(x: Tensor) -> Tensor:
    if not x.is_floating_point() or x.numel() == 0:
        return torch.ones((), dtype=torch.bool, device=x.device)
    # One pass over memory, where isfinite().all() takes five; NaN comes through both.
    return torch.stack(torch.aminmax(x.detach())).isfinite().all()


class NonFiniteGuard:
    """Looks for NaN and infinity in batches, losses and weights of a run.

    On a CPU every batch and loss is looked at. Elsewhere the flags are collected on the device and
    looked at every ``interval`` batches, so that training never waits for a layer. Only after a
    suspicious batch are the layers watched one by one.

    Args:
        interval: Batches between two looks on an accelerator.
    """

    def __init__(self, interval: int = 50) -> None:
        self._interval = interval
        self._batches = 0
        self._all_finite: Tensor | None = None
        self._watch: InputWatch | None = None

    def on_batch_start(self, model: nn.Module, batch: Any) -> None:  # noqa: ANN401
        """Look at the tensors of a batch."""
        finite = batch_is_finite(batch)
        if finite.device.type != "cpu":
            self._collect(finite)
        elif self._watch is None and not bool(finite):
            self._watch = InputWatch(model)

    def on_loss(self, model: nn.Module, loss: Tensor) -> None:
        """Look at a loss before it changes the weights."""
        finite = _is_finite(loss)
        if finite.device.type != "cpu":
            self._collect(finite)
            return
        self._stop_watching()
        if not bool(finite):
            check_weights(model)

    def on_batch_end(self, model: nn.Module) -> None:
        """Give the verdict on what was collected."""
        self._stop_watching()
        self._batches += 1
        if self._all_finite is not None and self._batches % self._interval == 0:
            suspicious = not bool(self._all_finite)
            self._all_finite = None
            if suspicious:
                check_weights(model)
                self._watch = InputWatch(model)

    def close(self) -> None:
        """Take off all hooks."""
        if self._watch is not None:
            self._watch.close()
        self._watch = self._all_finite = None

    def _collect(self, finite: Tensor) -> None:
        known = self._all_finite
        self._all_finite = finite if known is None else known & finite.to(known.device)

    def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()

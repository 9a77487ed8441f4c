"""Numbers of every analog layer, for whatever logger the Trainer has."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from aimc_lightning.nn.base import analog_arrays, analog_layers, tile_arrays
from aimc_lightning.nn.sharded import whole_parameters
from aimc_lightning.tiles.array import TileArray


class AnalogMonitor(Callback):
    """Logs input ranges, clipped inputs, weight kurtosis and error of the product of each layer.

    Example:
        >>> callback = AnalogMonitor(every_n_steps=100)

    It looks at the first batch of each validation, and during training at one batch every
    ``every_n_steps`` steps; between them it costs nothing. It draws no random number. The loggers
    receive, for each matrix, ``analog/<layer>/`` with

    - ``input_range``: mean over tiles, in the unit of the layer's inputs;
    - ``clipped_inputs``: share of inputs beyond the range, 0 to 1;
    - ``weight_kurtosis``: fourth standardised moment, 3 for a normal distribution; large values
      mean outliers, which cost conductance resolution;
    - ``mvm_error``: L2 norm of analog minus ideal product over that of the ideal one. In training
      it includes the training noise. Recurrent layers, whose tiles compute in one batched product,
      and tiles without any analog effect have only ``input_range`` and ``weight_kurtosis``.

    Args:
        every_n_steps: Optimizer steps between two looks during training; ``None``: validation only.

    Raises:
        ValueError: If ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(
                f"every_n_steps is {every_n_steps}; it must be 1 or more, or None for validation "
                "only."
            )
        self.every_n_steps = every_n_steps
        self._watch: _ProductWatch | None = None
        self._last_step = -1

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Look at this batch if it is time."""
        step, every = trainer.global_step, self.every_n_steps
        if trainer.loggers and every and step % every == 0 and step != self._last_step:
            self._last_step = step
            self._watch = _ProductWatch(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Log what was seen."""
        self._log(trainer, pl_module)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at the first batch."""
        if trainer.loggers and batch_idx == dataloader_idx == 0 and not trainer.sanity_checking:
            self._watch = _ProductWatch(pl_module)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: object
    ) -> None:
        """Log what was seen."""
        self._log(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Leave no hook behind."""
        if self._watch is not None:
            self._watch.close()
        self._watch = None

    def _log(self, trainer: Trainer, module: LightningModule) -> None:
        watch, self._watch = self._watch, None
        if watch is None:
            return
        watch.close()
        values = {f"analog/{name}": value for name, value in watch.values(module)}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)


class _ProductWatch:
    """Watches the tiles of a model during one batch."""

    def __init__(self, model: LightningModule) -> None:
        self._seen: dict[TileArray, dict[str, float]] = {}
        arrays = [array for layer in analog_layers(model).values() for array in tile_arrays(layer)]
        self._handles: list[RemovableHandle] = [
            array.register_forward_hook(self._note) for array in arrays
        ]

    @torch.no_grad()
    def _note(self, array: Any, arguments: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
        x, weight, product = arguments[:3]
        clipped, inputs = 0.0, 0
        parts = array.input_parts(x, product), array.weight_parts(weight)
        for tile, part, part_weight in zip(array.tiles, *parts, strict=True):
            part, _ = tile.centred(part, part_weight, product)
            part = tile.on_rows(part, product)
            clipped += float((part.abs() > tile.input_range.abs()).sum())
            inputs += part.numel()
        ideal = product.forward(x.float(), array.effective_weight(weight).float())
        error = (output.float() - ideal).norm() / ideal.norm().clamp(min=1e-12)
        self._seen[array] = {
            "clipped_inputs": clipped / max(inputs, 1),
            "mvm_error": float(error),
        }

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @torch.no_grad()
    def values(self, model: LightningModule) -> Iterator[tuple[str, float]]:
        for layer_name, layer in analog_layers(model).items():
            with whole_parameters(layer):
                kurtosis = {
                    name: _kurtosis(weight.detach().float())
                    for name, (_, weight) in analog_arrays(layer).items()
                }
            for (name, value), array in zip(kurtosis.items(), tile_arrays(layer), strict=True):
                prefix = layer_name if len(kurtosis) == 1 else f"{layer_name}/{name}"
                ranges = [float(tile.input_range) for tile in array.tiles]  # type: ignore[arg-type]
                yield f"{prefix}/input_range", sum(ranges) / len(ranges)
                yield f"{prefix}/weight_kurtosis", value
                for key, seen in self._seen.get(array, {}).items():
                    yield f"{prefix}/{key}", seen


def _kurtosis(weight: Tensor) -> float:
    centred = weight - weight.mean()
    return float((centred**4).mean() / (centred**2).mean().clamp(min=1e-30) ** 2)

"""Input ranges for a network that was mapped without training, from a few training batches."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torchmetrics import Metric

from aimc_lightning.nn.base import analog_layers, analog_tiles, set_noise_scale_


@torch.no_grad()
def calibrate_input_ranges_(
    trainer: Trainer,
    module: LightningModule,
    batches: Iterable[Any],
    step: Callable[..., Any],
    max_batches: int = 20,
) -> None:
    """Set learned input ranges as the first training batches would, without training.

    Only the analog layers run in training mode, without weight noise; normalisation statistics and
    weights stay as they are.

    Args:
        trainer: Trainer past its set-up.
        module: Its module.
        batches: Training batches.
        step: Called as ``step(batch, index)``; its result and what it logs are dropped.
        max_batches: Batches at most; fewer if the tiles need fewer.

    Source:
        Same rule as at the start of training: the mean over batches of ``init_std_alpha`` standard
        deviations (IBM/aihwkit, ``src/aihwkit/simulator/tiles/periphery.py``, apply_input_range).
    """
    tiles = analog_tiles(module).values()
    learned = [tile for tile in tiles if tile.config.input_range.mode == "learned"]
    if not learned:
        return
    count = min(max_batches, max(tile.config.input_range.init_batches for tile in learned))
    module.eval()
    for layer in analog_layers(module).values():
        layer.train()
    scales = [tile.noise_scale for tile in tiles]
    set_noise_scale_(module, 0.0)
    vars(module).update(log=_drop, log_dict=_drop)
    try:
        for index, batch in enumerate(itertools.islice(batches, count)):
            batch = trainer.precision_plugin.convert_input(batch)
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            with trainer.precision_plugin.forward_context():
                step(batch, index)
    finally:
        del vars(module)["log"], vars(module)["log_dict"]
        module.eval()
        for metric in module.modules():
            if isinstance(metric, Metric):  # has seen training batches; Lightning resets at the end
                metric.reset()
        for tile, scale in zip(tiles, scales, strict=True):
            tile.noise_scale = scale


def _drop(*_: object, **__: object) -> None:
    pass

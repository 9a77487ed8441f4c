"""What happens to the analog layers between optimizer steps."""

from collections.abc import Collection

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from aimc_lightning.integration.schedule import NoiseSchedule
from aimc_lightning.nn.base import (
    analog_tiles,
    clip_weights_,
    redraw_weight_noise_,
    set_noise_scale_,
)
from aimc_lightning.tiles.centring import Centring
from aimc_lightning.tiles.tile import AnalogTile


class StepControl:
    """Clips weights, draws held noise anew, follows the schedule.

    Args:
        schedule: Course of noise and input ranges.
    """

    def __init__(self, schedule: NoiseSchedule) -> None:
        self.schedule = schedule
        self.last_step = 0
        self._position: int | None = None
        self._frozen_ranges: dict[str, Tensor] = {}
        self._initializing: list[AnalogTile] = []
        self._centrings: list[Centring] = []

    def start(self) -> None:
        """Forget the previous run, so that the schedule is applied anew."""
        self._position = None
        self._frozen_ranges = {}

    def after_batch(self, trainer: Trainer, module: LightningModule) -> None:
        """Clip and redraw if an optimizer step was made since the last call.

        Steps count, not batches: with accumulated gradients most batches change no weight.
        """
        agree_on_inputs_(self._initializing, self._centrings)
        if trainer.global_step <= self.last_step:
            return
        self.last_step = trainer.global_step
        clip_weights_(module)
        redraw_weight_noise_(module)
        if self._frozen_ranges:
            with torch.no_grad():
                for name, parameter in module.named_parameters():
                    if name in self._frozen_ranges:
                        parameter.copy_(self._frozen_ranges[name])

    def before_batch(self, trainer: Trainer, module: LightningModule) -> None:
        """Set the noise of the running epoch or step, and freeze ranges when it is time."""
        tiles = analog_tiles(module).values()
        self._initializing = [tile for tile in tiles if tile.initializing]
        self._centrings = [tile.centring for tile in tiles if tile.centring is not None]
        by_epoch = self.schedule.unit == "epoch"
        position = trainer.current_epoch if by_epoch else trainer.global_step
        if position == self._position:
            return
        self._position = position
        set_noise_scale_(module, self.schedule.factor(position))
        if self.schedule.input_range_is_frozen(position) and not self._frozen_ranges:
            # Put back after each step rather than requires_grad_(False), which DDP does not allow
            # in the middle of a run.
            self._frozen_ranges = {
                name: parameter.detach().clone()
                for name, parameter in module.named_parameters()
                if name.endswith(".input_range")
            }


@torch.no_grad()
def agree_on_inputs_(tiles: Collection[AnalogTile], centrings: list[Centring]) -> None:
    """Make what each process has learned of the inputs of its own batch the same on all of them.

    DDP keeps parameters equal only by equal gradients; these were written directly.

    Args:
        tiles: Tiles that set their input ranges, and choose which inputs they repeat.
        centrings: Means of inputs.
    """
    means = [tile.input_range for tile in tiles] + [centring.mean for centring in centrings]
    _combine_(means)
    splittings = [tile.splitting for tile in tiles if tile.splitting is not None]
    _combine_([splitting.largest for splitting in splittings], largest=True)
    for splitting in splittings:
        splitting.choose_()


def _combine_(tensors: list[Tensor], *, largest: bool = False) -> None:
    """Overwrite tensors of one type and device by their mean, or maximum, over all processes."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not tensors or not distributed or torch.distributed.get_world_size() == 1:
        return
    together = torch.cat([tensor.detach().flatten() for tensor in tensors])
    kinds = torch.distributed.ReduceOp
    torch.distributed.all_reduce(together, kinds.MAX if largest else kinds.SUM)
    if not largest:  # gloo has no mean
        together /= torch.distributed.get_world_size()
    parts = together.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))

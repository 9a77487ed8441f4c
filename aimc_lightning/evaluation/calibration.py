"""Input ranges for a network that was mapped without training, from a few training batches."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loops import _EvaluationLoop
from torch import Tensor, nn

from aimc_lightning.evaluation.harness import Data, run_inside
from aimc_lightning.evaluation.ranks import each_rank_alone
from aimc_lightning.evaluation.training_data import (
    evaluation_step,
    run_batches,
    training_source,
)
from aimc_lightning.functional.input_range import updated_input_range
from aimc_lightning.functional.product import Product
from aimc_lightning.integration.randomness import kept_random_state
from aimc_lightning.nn.base import analog_layers, analog_tiles, set_noise_scale_
from aimc_lightning.tiles.initial_range import least_error_range
from aimc_lightning.tiles.tile import AnalogTile

#: Rules of :func:`calibrate_input_ranges`.
Method = Literal["mvm_error", "std", "quantile", "cached_quantile", "max"]

_CACHED_VALUES = 2**15  # of each batch and tile


def calibrate_input_ranges(
    trainer: Trainer,
    module: LightningModule,
    datamodule: Data = None,
    method: Method = "mvm_error",
    quantile: float = 0.99995,
    max_batches: int = 20,
    seed: int = 0,
) -> dict[str, float]:
    """Set the learned input ranges of an analog module from training batches, without training.

    Example:
        ``calibrate_input_ranges(trainer, module, datamodule, method="quantile")``

    What a range was before does not matter, and later training goes on from the new one. Weights
    and normalisation statistics stay as they are. A tile that no input with a spread reaches keeps
    its range. If something fails, all do. Means of inputs (``input_range.centred``) are set, too,
    and repeated inputs (``mapping.split_outliers``) chosen.

    Args:
        trainer: Any Trainer; its accelerator and precision are used.
        module: Analog module with a ``test_step`` or ``validation_step``, which runs the batches.
        datamodule: Data module with a training loader; a loader is taken for one of training
            batches; ``None`` takes the module's own.
        method: ``"mvm_error"``: mean over batches of the range with the smallest error of the
            product, clipping by the ADC included, at ``input_range.init_times_s``. ``"std"``: of
            ``init_std_alpha`` standard deviations. ``"quantile"``: of a quantile of the magnitudes.
            ``"cached_quantile"``: quantile of the magnitudes of all batches together, of which
            32,768 of each batch are kept. ``"max"``: largest magnitude in all batches.
        quantile: Share of the inputs that the range contains, for both quantiles.
        max_batches: Training batches at most.
        seed: From which the order of the data and the noise of the layers follow.

    Returns:
        New range of each tile by its name, in units of the layer's input.

    Raises:
        ValueError: If an argument is out of range, no tile learns its range, or there is no
            training batch; no range is changed then.

    Source:
        All but ``"mvm_error"``: IBM/aihwkit, ``src/aihwkit/inference/calibration/calibration.py``.
    """
    _check(module, method, quantile, max_batches)
    source = datamodule if _is_loader(datamodule) else training_source(datamodule, module)
    if source is None:
        raise ValueError(
            "Input ranges are calibrated on training batches, and there is no training loader: "
            "give a data module with train_dataloader, or a loader."
        )

    def work(loop: _EvaluationLoop) -> list[dict[str, Any]]:
        with each_rank_alone(trainer, loop), kept_random_state(), kept_input_ranges(module):
            torch.manual_seed(seed)
            batches = itertools.islice(_training_batches(source), max_batches)
            step = evaluation_step(trainer, module)
            set_input_ranges_(trainer, module, batches, step, method, quantile)
            return [{name: _found(tile) for name, tile in learned_tiles(module).items()}]

    (found,) = run_inside(trainer, module, datamodule, work)
    for name, tile in learned_tiles(module).items():
        state = {key: torch.tensor(value) for key, value in found[name].items()}
        tile.load_state_dict(state, strict=False)
        _finish_initialization_(tile)
    return {name: state["input_range"] for name, state in found.items()}


def _found(tile: AnalogTile) -> dict[str, Any]:
    """Return range and means of a tile as numbers, which Lightning hands on as they are."""
    return {
        name: value.tolist()
        for name, value in tile.state_dict().items()
        if name.startswith(("input_range", "centring.", "splitting."))
    }


def set_input_ranges_(
    trainer: Trainer,
    module: LightningModule,
    batches: Iterable[Any],
    step: Callable[..., Any],
    method: Method,
    quantile: float = 0.99995,
) -> None:
    """Set learned input ranges from batches, inside a Trainer run.

    Args:
        trainer: Trainer past its set-up.
        module: Its module.
        batches: Training batches.
        step: Called as ``step(batch, index)``; its result and what it logs are dropped.
        method: See :func:`calibrate_input_ranges`.
        quantile: The same.

    Raises:
        ValueError: If there is no batch.
    """
    tiles = learned_tiles(module).values()
    try:
        for tile in tiles:
            tile.initializing = True
            if tile.centring is not None:
                tile.centring.restart_()
            if tile.splitting is not None:
                tile.splitting.restart_()
            tile.initialize_range_ = _Rule(tile, method, quantile)  # type: ignore[method-assign]
        count = _run_analog(trainer, module, batches, step)
    finally:
        for tile in tiles:
            vars(tile).pop("initialize_range_", None)
            _finish_initialization_(tile)
    if count == 0:
        raise ValueError("The training loader gave no batch; check data set and drop_last.")


def _finish_initialization_(tile: AnalogTile) -> None:
    """Let later training go on from the range that the tile has."""
    tile.range_batches.fill_(tile.config.input_range.init_batches)
    tile.check_initialization_()


class _Rule:
    """Sets the range of a tile from the inputs it sees."""

    def __init__(self, tile: AnalogTile, method: Method, quantile: float) -> None:
        self._tile = tile
        self._method = method
        self._quantile = quantile
        self._batches = torch.zeros_like(tile.range_batches)
        self._cache: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, x: Tensor, weight: Tensor, product: Product) -> None:
        if self._method == "mvm_error":
            new, self._batches = least_error_range(self._tile, x, weight, product, self._batches)
        else:
            new, self._batches = self._updated(x.detach())
        self._tile.input_range.copy_(new)

    def _updated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        known, batches = self._tile.input_range, self._batches
        if self._method == "std":
            alpha = self._tile.config.input_range.init_std_alpha
            return updated_input_range(known, batches, x, alpha)
        magnitudes = x.abs().flatten().to(torch.promote_types(known.dtype, torch.float32))
        if not magnitudes.numel() or not (largest := magnitudes.max()) > 0:
            return known, batches
        if self._method == "max":
            return torch.where(batches > 0, torch.maximum(known, largest), largest), batches + 1
        if self._method == "cached_quantile":
            stride = math.ceil(magnitudes.numel() / _CACHED_VALUES)
            self._cache.append(magnitudes[::stride].clone())
            magnitudes = torch.cat(self._cache)
        # torch.quantile refuses more than 16 million values.
        place = math.ceil(self._quantile * magnitudes.numel())
        found = magnitudes.kthvalue(max(place, 1)).values
        found = torch.where(found > 0, found, largest)  # sparse inputs
        if self._method == "cached_quantile":
            return found, batches + 1
        return (known * batches + found) / (batches + 1), batches + 1


def check_calibration(method: str, max_batches: int) -> None:
    """Raise ``ValueError`` for an unknown method, or a number of batches below 1."""
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(get_args(Method))}.")
    if isinstance(max_batches, bool) or not isinstance(max_batches, int) or max_batches < 1:
        raise ValueError(f"max_batches is {max_batches!r}; it must be a whole number from 1 up.")


def _check(module: LightningModule, method: str, quantile: float, max_batches: int) -> None:
    check_calibration(method, max_batches)
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile is {quantile}; it must be above 0 and at most 1.")
    if not learned_tiles(module):
        raise ValueError(
            f"{type(module).__name__} has no analog layer with input_range.mode 'learned', so "
            "there is nothing to calibrate. Convert it first: convert_to_analog(module, config)."
        )


def learned_tiles(module: nn.Module) -> dict[str, AnalogTile]:
    """Return the tiles that learn their input range, by name."""
    tiles = analog_tiles(module).items()
    return {name: tile for name, tile in tiles if tile.config.input_range.mode == "learned"}


@contextmanager
def kept_input_ranges(module: nn.Module) -> Iterator[None]:
    """Put learned input ranges, and how far they are initialised, back afterwards.

    Args:
        module: Model with analog layers.
    """
    tiles = learned_tiles(module).values()
    before = [
        (tile, {name: value.clone() for name, value in tile.state_dict().items()}) for tile in tiles
    ]
    try:
        yield
    finally:
        for tile, state in before:
            tile.load_state_dict(state)


def _is_loader(data: Data) -> bool:
    return data is not None and not isinstance(data, LightningDataModule)


def _training_batches(source: Any) -> Iterable[Any]:  # noqa: ANN401 - a module or a loader
    if isinstance(source, LightningDataModule):
        source.setup("fit")  # the Trainer has set it up for testing only
    loader: Iterable[Any] = (
        source.train_dataloader() if hasattr(source, "train_dataloader") else source
    )
    return loader


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
        Same rule as at the start of training, ``input_range.init_rule`` of each tile.
    """
    learned = learned_tiles(module).values()
    if not learned:
        return
    count = min(max_batches, max(tile.config.input_range.init_batches for tile in learned))
    _run_analog(trainer, module, itertools.islice(batches, count), step)


def _run_analog(
    trainer: Trainer, module: LightningModule, batches: Iterable[Any], step: Callable[..., Any]
) -> int:
    """Run batches with the analog layers in training mode, without weight noise."""
    tiles = analog_tiles(module).values()
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    for layer in analog_layers(module).values():
        layer.train()
    scales = [tile.noise_scale for tile in tiles]
    set_noise_scale_(module, 0.0)
    try:
        return run_batches(trainer, module, batches, step)
    finally:
        for part, training in modes:
            part.training = training
        for tile, scale in zip(tiles, scales, strict=True):
            tile.noise_scale = scale

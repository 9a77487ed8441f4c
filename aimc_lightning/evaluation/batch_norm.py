"""Batch-norm statistics that fit an aged chip, re-estimated from training batches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norm_layers(module: nn.Module) -> dict[str, _BatchNorm]:
    """Return the batch-norm layers that keep running statistics, by name.

    Example:
        >>> list(batch_norm_layers(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))))
        ['1']
    """
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


@contextmanager
def batch_norm_of_chip(module: nn.Module, run: Callable[[], int]) -> Iterator[None]:
    """Let a programmed module use statistics of its own chip; the trained ones come back after.

    Only the batch-norm layers run in training mode; everything else, the chip included, as in
    evaluation. Each batch has the same weight, as with ``momentum=None`` of torch's layers.
    Trainable parameters are not touched.

    Args:
        module: Programmed module with batch-norm layers.
        run: Runs training batches through the module without gradient; returns their number.

    Raises:
        ValueError: If there was no batch.

    Source:
        Cumulative average over batches as in ``torch.optim.swa_utils.update_bn``; re-estimation on
        drifted PCM arrays: Joshi et al., Nature Communications 11, 2473 (2020), "adaptive batch
        normalization statistics update".
    """
    layers = list(batch_norm_layers(module).values())
    trained = [_statistics(layer) for layer in layers]
    momenta = [layer.momentum for layer in layers]
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch: cumulative average
            layer.train()
        if run() == 0:
            raise ValueError(
                "The training data loader gave no batch, so there is nothing to re-estimate "
                "batch-norm statistics from. Check the data set and drop_last."
            )
        for part, training in modes:
            part.training = training
        yield
    finally:
        for layer, buffers, momentum in zip(layers, trained, momenta, strict=True):
            layer.momentum = momentum
            for name, value in buffers.items():
                layer.get_buffer(name).copy_(value)
        for part, training in modes:
            part.training = training


def _statistics(layer: _BatchNorm) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in layer.named_buffers(recurse=False)}

"""The loop over the time steps of one layer and direction, with back-propagation through time."""

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.functional.recurrent_cells import RecurrentCell
from aimc_lightning.tiles.array import TileArray
from aimc_lightning.tiles.sequence import StepGradient, StepProduct, StepRecord
from aimc_lightning.tiles.stack import TileGroup, tile_groups

_NO_GRADIENT: tuple[None, None, None] = (None, None, None)


class _Plan(NamedTuple):
    """What a loop does: the rows of each step, in the order of the loop, and its matrices.

    ``matrices`` holds the groups of tiles of the recurrent matrix and, with a projection, those of
    the projection; ``products`` is filled by the loop.
    """

    cell: RecurrentCell
    steps: list[slice]
    matrices: list[list[TileGroup]]
    products: list[StepProduct]
    keep_record: bool


class _Recurrence(torch.autograd.Function):
    """All time steps of one direction as one node of the graph.

    Tensors after the plan: gates of the input, bias of the recurrent matrix or ``None``, first
    hidden and cell state, then weight, input ranges and output scales of each matrix.
    """

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *tensors: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        gates, bias, h_0, c_0, *parameters = tensors
        rows, keep = len(gates), plan.keep_record
        for index, groups in enumerate(plan.matrices):
            _, ranges, scales = parameters[3 * index : 3 * index + 3]
            product = StepProduct(groups, ranges, scales, rows, keep_record=keep)
            plan.products.append(product)
        recurrent, *projection = plan.products
        h, c = h_0.clone(), c_0.clone()
        out = gates.new_empty(rows, h.shape[1])
        saved = gates.new_empty(rows, plan.cell.saved * c.shape[1])
        for step in plan.steps:
            # Only the first sequences of a packed batch still run; the others keep their state.
            batch = step.stop - step.start
            old_h, old_c = h[:batch], c[:batch]
            h_gates = recurrent.step(old_h, step)
            h_gates = h_gates if bias is None else h_gates.add_(bias)
            new_h, new_c = plan.cell.forward(gates[step], h_gates, old_h, old_c, saved[step])
            if projection:
                new_h = projection[0].step(new_h, step)
            out[step] = new_h
            old_h.copy_(new_h)
            old_c.copy_(new_c)
        if keep:
            _save(ctx, plan, saved, parameters)
        return out, h, c

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        if torch.is_grad_enabled():
            # torch's once_differentiable notices only gradients that come in with a graph.
            raise RuntimeError(
                "The gradient of an analog recurrent layer cannot be differentiated again; leave "
                "out create_graph=True."
            )
        grad_out, grad_h, grad_c = grads[0], grads[1].clone(), grads[2].clone()
        cell: RecurrentCell = ctx.cell
        saved, ways = _restore(ctx)
        recurrent, *projection = ways
        size = saved.shape[1] // cell.saved
        grad_gates = saved.new_empty(len(saved), cell.gates * size)
        grad_h_gates = grad_gates if cell.adds_gates else torch.empty_like(grad_gates)
        grad_new_h = grad_out.clone() if projection else grad_out
        for step in reversed(ctx.steps):
            batch = step.stop - step.start
            grad = grad_h[:batch].add_(grad_out[step])
            if projection:
                grad_new_h[step] = grad
                grad = projection[0].step(grad, step)
            direct, grad_old_c = cell.backward(
                grad, grad_c[:batch], saved[step], grad_gates[step], grad_h_gates[step]
            )
            grad_old_h = recurrent.step(grad_h_gates[step], step)
            grad_h[:batch] = grad_old_h if direct is None else grad_old_h.add_(direct)
            grad_c[:batch] = grad_old_c
        needs = ctx.needs_input_grad
        parameters = recurrent.finish(grad_h_gates, needs[5:8]) if any(needs[5:8]) else _NO_GRADIENT
        if projection:
            parameters += projection[0].finish(grad_new_h, needs[8:11])
        grad_bias = grad_h_gates.sum(0) if needs[2] else None
        return None, grad_gates, grad_bias, grad_h, grad_c, *parameters


def _save(ctx: Any, plan: _Plan, saved: Tensor, parameters: list[Tensor]) -> None:  # noqa: ANN401
    """Hand all large tensors to autograd, which frees them after the backward pass."""
    tensors: list[Tensor | None] = [saved]
    ctx.cell, ctx.steps, ctx.matrices = plan.cell, plan.steps, []
    for index, product in enumerate(plan.products):
        record = product.record
        assert record is not None
        tensors += parameters[3 * index + 1 : 3 * index + 3]
        tensors += [record.x, *record.codes, *record.factors, *record.weights]
        ctx.matrices.append([group.with_weights(None) for group in product.groups])
    ctx.save_for_backward(*tensors)


def _restore(ctx: Any) -> tuple[Tensor, list[StepGradient]]:  # noqa: ANN401
    tensors = iter(ctx.saved_tensors)
    saved = next(tensors)
    ways = []
    for groups in ctx.matrices:
        ranges, scales, x = itertools.islice(tensors, 3)
        codes, factors, weights = (list(itertools.islice(tensors, len(groups))) for _ in range(3))
        groups = [g.with_weights(weight) for g, weight in zip(groups, weights, strict=True)]
        ways.append(StepGradient(groups, ranges, scales, StepRecord(x, codes, factors, weights)))
    return saved, ways


@torch.compiler.disable  # the loop writes into buffers, which a compiler would have to unroll
def run_steps(
    cell: RecurrentCell,
    x_gates: Tensor,
    bias: Tensor | None,
    state: tuple[Tensor, Tensor],
    batch_sizes: list[int],
    matrices: list[tuple[TileArray, Tensor]],
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer in one direction over a packed batch.

    Args:
        cell: Gates of the layer.
        x_gates: Input products of all steps, biases included, ``(rows, gates * hidden)``; the rows
            of a step follow those of the step before.
        bias: Added to the recurrent product where it cannot be part of ``x_gates``.
        state: First hidden ``(batch, out)`` and cell state ``(batch, hidden)``.
        batch_sizes: Sequences that still run at each step, not increasing.
        matrices: Tiles and logical weights of the recurrent matrix and of the projection, if any.
        reverse: Run from the last step to the first.

    Returns:
        Hidden states of all steps ``(rows, out)``, last hidden and last cell state, all of the
        type of ``x_gates``, which is autocast's where that is on.
    """
    ends = list(itertools.accumulate(batch_sizes))
    steps = [slice(end - size, end) for end, size in zip(ends, batch_sizes, strict=True)]
    if reverse:
        steps.reverse()
    groups = [tile_groups(array, weight) for array, weight in matrices]
    # Inside an autograd function one cannot see whether gradients are wanted at all.
    plan = _Plan(cell, steps, groups, [], keep_record=torch.is_grad_enabled())
    parameters: list[Tensor] = []
    for array, weight in matrices:
        tiles: list[Any] = list(array.tiles)
        ranges = torch.stack([tile.input_range for tile in tiles])
        parameters += [weight, ranges, torch.stack([tile.out_scale for tile in tiles])]
    dtype = groups[0][0].weights.weight.dtype
    wide = [value.to(dtype) for value in (x_gates, *state)]
    bias = None if bias is None else bias.to(dtype)
    with torch.autocast(x_gates.device.type, enabled=False):
        out, h, c = _Recurrence.apply(plan, wide[0], bias, *wide[1:], *parameters)
    for (array, weight), product in zip(matrices, plan.products, strict=True):
        _initialize_ranges_(array, weight, product.x)
        if array.observer is not None:
            array.observer(product.x, LinearProduct())
    return out.to(x_gates.dtype), h.to(x_gates.dtype), c.to(x_gates.dtype)


def _initialize_ranges_(array: TileArray, weight: Tensor, x: Tensor) -> None:
    """Set ranges from the inputs of all steps, which exist only after the pass they serve."""
    if array.training:
        xs, weights = x.split(array.in_sizes, 1), array.weight_parts(weight)
        for tile, part, part_weight in zip(array.tiles, xs, weights, strict=True):
            if tile.initializing:
                tile.initialize_range_(part, part_weight, LinearProduct())  # type: ignore[operator]

"""One weight matrix that serves all time steps of a recurrent layer.

The steps share one draw of training noise. What the gradient of weights, ranges and scales needs is
recorded and computed for all steps at once; only the gradient of the inputs goes back step by step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_lightning.functional import kernels
from aimc_lightning.functional.crossbar import dac_codes
from aimc_lightning.functional.input_range import input_range_gradient
from aimc_lightning.functional.integer_steps import integer_step_codes
from aimc_lightning.functional.managed import managed_codes
from aimc_lightning.functional.product import StackedProduct
from aimc_lightning.functional.standard_effects import Scales, is_noisy
from aimc_lightning.tiles.stack import TileGroup

_PRODUCT = StackedProduct()
_hardtanh_backward = torch.ops.aten.hardtanh_backward


class StepRecord(NamedTuple):
    """What the gradient needs: inputs ``(rows, in)``, and per group codes, factors and weights."""

    x: Tensor
    codes: list[Tensor]
    factors: list[Tensor | None]
    weights: list[Tensor]


class StepProduct:
    """The forward products of one pass; rows of all time steps lie one after another.

    Args:
        groups: From :func:`~aimc_lightning.tiles.stack.tile_groups`.
        ranges: Input range of each tile, ``(tiles,)``.
        scales: Learned output scale of each tile, ``(tiles, out)`` or ``(tiles, 1)``.
        rows: Rows of all time steps together.
        keep_record: Whether a gradient will be asked for.
    """

    def __init__(
        self,
        groups: list[TileGroup],
        ranges: Tensor,
        scales: Tensor,
        rows: int,
        *,
        keep_record: bool,
    ) -> None:
        weight = groups[0].weights.weight
        self.groups = groups
        #: Inputs of all steps, ``(rows, in)``.
        self.x = weight.new_empty(rows, groups[-1].inputs.stop)
        self.record: StepRecord | None = None
        if keep_record:
            codes = [
                weight.new_empty(group.shape(rows), dtype=_code_dtype(group)) for group in groups
            ]
            factors: list[Tensor | None] = [None] * len(groups)
            weights = [group.weights.weight for group in groups]
            self.record = StepRecord(self.x, codes, factors, weights)
        self.on_gpu = _gpu_scales(groups, ranges, scales)
        if self.on_gpu:
            self.seeds = [
                kernels.new_seed(weight, group.generator, rows)
                if is_noisy(group.periphery)
                else None
                for group in groups
            ]
            return
        widths = [group.widths(ranges) for group in groups]
        self.inverse = [1 / width for width in widths]
        self.output_factor = [
            group.output_scales(scales) * (width * group.periphery.adc_step)
            for group, width in zip(groups, widths, strict=True)
        ]

    def step(self, x: Tensor, rows: slice) -> Tensor:
        """Return the product of one time step.

        Args:
            x: Inputs of the step, ``(batch, in)``.
            rows: Where the step lies in the sequence.

        Returns:
            Digital sum over the tiles, ``(batch, out)``.
        """
        self.x[rows] = x
        total: Tensor | None = None
        for index in range(len(self.groups)):
            y = self._gpu_step(index, rows) if self.on_gpu else self._chain(index, x, rows)
            total = y if total is None else total.add_(y)
        assert total is not None
        return total

    def _chain(self, index: int, x: Tensor, rows: slice) -> Tensor:
        group, factor = self.groups[index], None
        weights, p, generator = group.weights, group.periphery, group.generator
        relative = group.grouped(x) * self.inverse[index]
        if weights.integers is not None:
            codes = integer_step_codes(relative, weights, p, generator=generator)
        else:
            codes, factor = managed_codes(relative, weights, p, _PRODUCT, generator=generator)
        if self.record is not None:
            self._note(index, rows, codes, factor)
        y = codes.mul_(self.output_factor[index])
        y = y if factor is None else y.mul_(factor)
        return y.sum(0) if len(y) > 1 else y[0]

    def _gpu_step(self, index: int, rows: slice) -> Tensor:
        group, seeds = self.groups[index], self.seeds[index]
        return kernels.gpu_step(
            self.x[rows, group.inputs],
            group.weights,
            group.periphery,
            self.on_gpu[index],
            None if self.record is None else self.record.codes[index][:, rows],
            None if seeds is None else seeds[rows.start : rows.start + 1],
        )

    def _note(self, index: int, rows: slice, codes: Tensor, factor: Tensor | None) -> None:
        assert self.record is not None
        self.record.codes[index][:, rows] = codes
        if factor is not None:
            noted = self.record.factors[index]
            if noted is None:
                noted = factor.new_empty(len(codes), len(self.x), 1)
                self.record.factors[index] = noted
            noted[:, rows] = factor


class StepGradient:
    """The way back through a :class:`StepProduct`, last step first.

    Args:
        groups: Those of the product.
        ranges: Input range of each tile, ``(tiles,)``.
        scales: Learned output scale of each tile, ``(tiles, out)`` or ``(tiles, 1)``.
        record: What the product kept.
    """

    def __init__(
        self, groups: list[TileGroup], ranges: Tensor, scales: Tensor, record: StepRecord
    ) -> None:
        rows = len(record.x)
        self.groups, self.ranges, self.scales, self.record = groups, ranges, scales, record
        self.width = [group.widths(ranges) for group in groups]
        self.output_scale = [group.output_scales(scales) for group in groups]
        self.on_gpu = _gpu_scales(groups, ranges, scales)
        #: Gradient of the ideal products, and of inputs that were clipped, all steps.
        self.grads = [record.x.new_empty(group.shape(rows)) for group in groups]
        self.clipped = [
            record.x.new_zeros(weight.shape[0], rows, weight.shape[2]) for weight in record.weights
        ]

    def step(self, grad_y: Tensor, rows: slice) -> Tensor:
        """Return the gradient of the inputs of one step.

        Args:
            grad_y: Gradient of the product, ``(batch, out)``.
            rows: Where the step lies in the sequence.

        Returns:
            Shape ``(batch, in)``.
        """
        if self.on_gpu and grad_y.is_contiguous():
            return self._gpu_step(grad_y, rows)
        parts = []
        for index, group in enumerate(self.groups):
            p, grad = group.periphery, self.grads[index][:, rows]
            torch.mul(grad_y, self.output_scale[index], out=grad)
            if p.code_limit is not None:
                codes = self.record.codes[index][:, rows].to(grad.dtype)
                torch.ops.aten.hardtanh_backward.grad_input(
                    grad, codes, -p.code_limit, p.code_limit, grad_input=grad
                )
            grad_x = torch.bmm(grad, self.record.weights[index])
            if p.clip_input:
                relative = self._relative(index, rows)
                inside = _hardtanh_backward(grad_x, relative, -1.0, 1.0)
                torch.sub(grad_x, inside, out=self.clipped[index][:, rows])
                grad_x = inside
            parts.append(grad_x.transpose(0, 1).flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _gpu_step(self, grad_y: Tensor, rows: slice) -> Tensor:
        grad_x = torch.empty_like(self.record.x[rows])
        for index, group in enumerate(self.groups):
            kernels.gpu_step_backward(
                grad_y,
                self.record.x[rows, group.inputs],
                self.record.weights[index],
                self.on_gpu[index],
                group.periphery,
                self.record.codes[index][:, rows],
                self.grads[index][:, rows],
                (grad_x[:, group.inputs], self.clipped[index][:, rows]),
            )
        return grad_x

    def _relative(self, index: int, rows: slice) -> Tensor:
        """Return the inputs in units of the range, under noise management per vector."""
        relative = self.groups[index].grouped(self.record.x[rows]) * (1 / self.width[index])
        factor = self.record.factors[index]
        return relative if factor is None else relative / factor[:, rows]

    def finish(self, grad_y: Tensor, needs: Sequence[bool]) -> tuple[Tensor | None, ...]:
        """Return the gradients of weight, ranges and scales over all steps.

        Args:
            grad_y: Gradient of the products of all steps, ``(rows, out)``.
            needs: Which of the three are wanted.
        """
        every = slice(None)
        weights, ranges, scales = [], [], []
        for index, group in enumerate(self.groups):
            p, width = group.periphery, self.width[index]
            factor = self.record.factors[index]
            if needs[2]:
                outputs = self.record.codes[index] * grad_y
                outputs = outputs if factor is None else outputs * factor
                scales.append(outputs.sum(1) * (p.adc_step * width[:, 0]) * group.mapping_scale)
            if not (needs[0] or needs[1]):
                continue
            relative = self._relative(index, every)
            if needs[1]:
                ranges += [
                    input_range_gradient(c, x, grad, decay=p.decay, min_percentage=p.min_percentage)
                    for c, x, grad in zip(
                        width.flatten(), relative, self.clipped[index], strict=True
                    )
                ]
            if needs[0]:
                weights.append(self._weight_gradient(index, relative))
        grad_weight = torch.cat(weights, 1) if needs[0] else None
        grad_ranges = torch.stack(ranges) * self.ranges.sign() if needs[1] else None
        grad_scales = torch.cat(scales).sum_to_size(self.scales.shape) if needs[2] else None
        return grad_weight, grad_ranges, grad_scales

    def _weight_gradient(self, index: int, relative: Tensor) -> Tensor:
        """Return the gradient of a group's logical weights, ``(out, tiles * in)``."""
        group, factor = self.groups[index], self.record.factors[index]
        ideal = group.periphery._replace(
            input_asymmetry=0.0, input_noise_std=0.0, dac_stochastic=False
        )
        x_hat, step = dac_codes(relative.clone(), ideal, None)
        x_hat = x_hat if factor is None else x_hat * factor
        grad = torch.bmm(self.grads[index].transpose(1, 2), x_hat)
        grad = grad * (self.width[index] * step / group.mapping_scale.unsqueeze(-1))
        return grad.transpose(0, 1).flatten(1)


def _gpu_scales(groups: list[TileGroup], ranges: Tensor, scales: Tensor) -> list[Scales]:
    """Return the scales that GPU kernels take, for each group; none where they do not serve."""
    serve = kernels.HAS_GPU_KERNELS and all(
        kernels.can_fuse_steps(group.weights, group.periphery) for group in groups
    )
    if not serve:
        return []
    return [
        Scales(ranges.detach()[group.tiles], _per_output(group, scales.detach()))
        for group in groups
    ]


def _per_output(group: TileGroup, scales: Tensor) -> Tensor:
    outputs = group.weights.weight.shape[1]
    return group.output_scales(scales).expand(-1, -1, outputs).flatten()


def _code_dtype(group: TileGroup) -> torch.dtype:
    """Return the smallest type that holds the codes."""
    steps = group.periphery.adc_steps
    if steps is None:
        return group.weights.weight.dtype
    return torch.int8 if steps <= 254 else torch.int32

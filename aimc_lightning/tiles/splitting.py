"""Idle rows of a tile repeat its largest inputs, so that one outlier does not set the range.

A tile has one input range. Where a few inputs are ten times larger than the rest, as behind the
layer norms of a transformer, the range that holds them leaves the others a few steps of the DAC and
currents that drown in the noise of the ADC. Written into several rows, each with the same weights
and its share of the input, an outlier needs no wider range than the others; the sum is the same.
"""

import torch
from torch import Tensor, nn

from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery
from aimc_lightning.functional.product import LinearProduct, Product


class OutlierSplitting(nn.Module):
    """Chooses the inputs that are repeated from the first batches, and repeats them.

    Args:
        inputs: Features, or channels, of the inputs.
        rows: How many of them the tile takes, repeated ones included; not below ``inputs``.

    Attributes:
        copies: Rows of each input, ``(inputs,)``; they add up to ``rows``.
        largest: Largest magnitude of each input that was noted, ``(inputs,)``.

    Source:
        Outlier channel splitting: Zhao et al., "Improving Neural Network Quantization without
        Retraining using Outlier Channel Splitting", ICML 2019. They widen layers for it; here the
        rows are there, idle.

    Example:
        >>> splitting = OutlierSplitting(2, 4)
        >>> splitting.note_(torch.tensor([[9.0, -1.0]]), LinearProduct())
        >>> splitting.copies, splitting.split_inputs(torch.ones(1, 2), LinearProduct())
        (tensor([3, 1]), tensor([[0.3333, 0.3333, 0.3333, 1.0000]]))
    """

    copies: Tensor
    largest: Tensor

    def __init__(self, inputs: int, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.register_buffer("copies", _shared(torch.ones(inputs), rows))
        self.register_buffer("largest", torch.zeros(inputs))

    def shares(self, x: Tensor, product: Product) -> Tensor:
        """Return what each row of an input takes, shaped as the inputs.

        Args:
            x: Inputs, ``(..., inputs)`` or ``(batch, inputs, *space)``.
            product: How inputs meet weights.
        """
        return x * product.per_output(self.copies.reciprocal().to(x.dtype))

    def split_inputs(self, x: Tensor, product: Product) -> Tensor:
        """Return what the rows take, ``(..., rows)`` or ``(batch, rows, *space)``.

        Args:
            x: Inputs, as of :meth:`shares`.
            product: How inputs meet weights.
        """
        return self.shares(x, product).index_select(_axis(x, product), self._input_of_row())

    def split_weights(self, weight: Tensor) -> Tensor:
        """Return the weights of the rows, ``(out, rows, *kernel)``.

        Args:
            weight: Of the inputs, ``(out, inputs, *kernel)``.
        """
        return weight.index_select(1, self._input_of_row())

    def facing(
        self, held: Tensor, x: Tensor, weight: Tensor, product: Product
    ) -> tuple[Tensor, Tensor]:
        """Return inputs and logical weights as those that a tile holds want them.

        Args:
            held: Weights of all rows, or added up by :meth:`add_copies`.
            x: Inputs, as of :meth:`shares`.
            weight: Of the inputs, ``(out, inputs, *kernel)``.
            product: How inputs meet weights.
        """
        if held.shape[1] == self.rows:
            return self.split_inputs(x, product), self.split_weights(weight)
        copies = self.copies.view(-1, *(1,) * (weight.dim() - 2))
        return self.shares(x, product), weight * copies.to(weight.dtype)

    def add_copies(self, weights: CrossbarWeights, periphery: Periphery) -> CrossbarWeights:
        """Return weights that meet :meth:`shares` instead of :meth:`split_inputs`, if possible.

        Rows of one input get the same DAC code, so their weights can be added up beforehand.

        Args:
            weights: Of all rows.
            periphery: Numbers of the signal chain.

        Returns:
            The same where the weights are integers, or rows differ in more than their weights.
        """
        if weights.integers is not None or not can_add_copies(periphery):
            return weights
        w = weights
        magnitude = None if w.magnitude is None else self._sums(w.magnitude)
        squares = magnitude  # one tensor as a rule, which kernels tell from it being the same
        if w.squares is not w.magnitude:
            squares = None if w.squares is None else self._sums(w.squares)
        return w._replace(
            weight=self._sums(w.weight),
            magnitude=magnitude,
            positioned=None if w.positioned is None else self._sums(w.positioned),
            squares=squares,
            negative=None if w.negative is None else self.add_copies(w.negative, periphery),
        )

    def _sums(self, values: Tensor) -> Tensor:
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        sums = wide.new_zeros(len(values), len(self.copies), *values.shape[2:])
        return sums.index_add_(1, self._input_of_row(), wide).to(values.dtype)

    @torch.no_grad()
    def note_(self, x: Tensor, product: Product) -> None:
        """Choose anew, with the magnitudes of one more batch.

        Args:
            x: Inputs, as of :meth:`split_inputs`.
            product: How inputs meet weights.
        """
        if x.numel() == 0:
            return
        others = [axis for axis in range(x.dim()) if axis != _axis(x, product)]
        magnitudes = x.detach().abs()
        found = (magnitudes.amax(others) if others else magnitudes).to(self.largest.dtype)
        self.largest.copy_(torch.maximum(self.largest, found))
        self.choose_()

    @torch.no_grad()
    def choose_(self) -> None:
        """Share the rows out by ``largest``."""
        self.copies.copy_(_shared(self.largest, self.rows))

    def restart_(self) -> None:
        """Let the next batches count alone."""
        self.largest.zero_()

    def _input_of_row(self) -> Tensor:
        inputs = torch.arange(len(self.copies), device=self.copies.device)
        return inputs.repeat_interleave(self.copies, output_size=self.rows)


def can_add_copies(periphery: Periphery) -> bool:
    """Return whether rows of one input differ in their weights alone.

    Args:
        periphery: Numbers of the signal chain.

    Example:
        >>> can_add_copies(Periphery(dac_steps=254)), can_add_copies(Periphery(input_noise_std=0.1))
        (True, False)
    """
    p = periphery
    own_noise = p.input_noise_std > 0 or p.dac_stochastic
    sums_of_inputs = p.v_offset is not None or p.r_series > 0
    managed = p.noise_management != "none" or p.bound_management != "none"
    return not (own_noise or sums_of_inputs or managed)


def rows_with_copies(inputs: int, kernel_size: int, max_inputs: int) -> int:
    """Return how many inputs a tile can take, repeated ones included: at most twice as many.

    The rows take their time to simulate, hence the limit.

    Args:
        inputs: Features, or channels.
        kernel_size: Rows for each of them.
        max_inputs: Rows of a crossbar.

    Example:
        >>> rows_with_copies(384, 1, 512), rows_with_copies(16, 9, 512)
        (512, 32)
    """
    return max(inputs, min(2 * inputs, max_inputs // kernel_size))


def _shared(largest: Tensor, rows: int) -> Tensor:
    """Return how many rows each input gets, so that the largest share of an input is smallest."""
    idle = rows - len(largest)
    # Row by row to the input whose share is largest: these are the largest of all shares.
    shares = largest[:, None] / torch.arange(1, idle + 1, device=largest.device)
    further = shares.flatten().topk(idle).indices // max(idle, 1)
    return torch.ones_like(largest, dtype=torch.long).index_add(
        0, further, torch.ones_like(further)
    )


def _axis(x: Tensor, product: Product) -> int:
    return x.dim() - 1 if isinstance(product, LinearProduct) else 1

"""Means of a tile's inputs, taken off digitally before the DAC: only deviations stay analog.

A crossbar multiplies the mean of each input with the errors of its weights. That shifts all outputs
by a constant, which differs from chip to chip. Taken off, and multiplied digitally with the weights
as they should be, the mean brings no error; the DAC needs a narrower range as well.
"""

import torch
from torch import Tensor, nn

from aimc_lightning.functional.product import LinearProduct, Product

_MOMENTUM = 0.1  # that of torch's batch norm


class Centring(nn.Module):
    """Follows the means of the inputs in training and takes them off.

    Attributes:
        mean: Of each feature, or channel, ``(channels,)``; 0 before training.
        batches: Number of batches seen.

    Source:
        Subtracting a constant before a quantiser and adding its product behind it: zero points
        (Jacob et al., CVPR 2018), per channel (Wei et al., Outlier Suppression+, EMNLP 2023).

    Example:
        >>> centring = Centring(2)
        >>> x, constant = centring(torch.ones(3, 2), torch.ones(1, 2), LinearProduct())
        >>> x.abs().max().item(), constant
        (0.0, tensor([2.]))
    """

    mean: Tensor
    batches: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, x: Tensor, weight: Tensor, product: Product) -> tuple[Tensor, Tensor]:
        """Return the inputs less their means, and the product of the means with the weights.

        Args:
            x: Inputs, ``(..., in_features)`` or ``(batch, channels, *space)``; in training their
                means are noted first.
            weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units.
            product: How inputs meet weights.

        Returns:
            Inputs for the DAC, and what to add to the outputs, of a shape that broadcasts. At the
            borders of padded images it is smaller.
        """
        linear = isinstance(product, LinearProduct)
        if self.training and x.numel() > 0:
            self._note(x.detach(), linear)
        # A copy, since a layer that runs twice changes the means between its backward passes.
        mean = self.mean.clone() if self.training else self.mean
        shaped = product.per_output(mean)
        with torch.autocast(x.device.type, enabled=False):
            image = mean if linear else shaped.expand(1, -1, *x.shape[2:])
            constant = product.forward(image, weight.to(mean.dtype))
        return x - shaped.to(x.dtype), constant

    @torch.no_grad()
    def _note(self, x: Tensor, linear: bool) -> None:
        x = x.to(self.mean.dtype)
        axes = [axis for axis in range(x.dim()) if axis != (x.dim() - 1 if linear else 1)]
        found = x.mean(axes) if axes else x
        # The mean over all batches at first, then over the last ones.
        share = (1 / (self.batches + 1)).clamp(min=_MOMENTUM).to(found.dtype)
        self.mean.lerp_(found, share)
        self.batches += 1

    def restart_(self) -> None:
        """Let the next batches in training count alone."""
        self.batches.zero_()

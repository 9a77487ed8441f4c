"""The ideal matrix products that a crossbar approximates, for linear layers and convolutions.

A product knows how inputs meet weights, and the two products of back-propagation; it holds no
weights. The signal chain of a tile is written once for both (:mod:`.mvm`).
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Product(Protocol):
    """How the inputs of one tile meet its weights."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the product of inputs and weights."""
        ...

    def pair(self, x: Tensor, other: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the products of two inputs with the same weights, which are read once."""
        ...

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, needs: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of inputs and weights for the gradient of the product."""
        ...

    def per_output(self, values: Tensor) -> Tensor:
        """Return a vector over outputs in a shape that broadcasts against the product."""
        ...

    def reduce_to_outputs(self, values: Tensor) -> Tensor:
        """Return the sum of a product-shaped tensor over everything but the outputs."""
        ...


class LinearProduct(NamedTuple):
    """``x @ weight.T`` for inputs ``(..., in_features)``, weights ``(out_features, in_features)``.

    Example:
        >>> import torch
        >>> LinearProduct().forward(torch.ones(1, 2), torch.tensor([[1.0, 2.0]]))
        tensor([[3.]])
    """

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the product, shape ``(..., out_features)``."""
        return F.linear(x, weight)

    def pair(self, x: Tensor, other: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return both products, each of shape ``(..., out_features)``."""
        first, second = self.forward(torch.stack((x, other)), weight)
        return first, second

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, needs: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return gradients shaped as ``x`` and ``weight``, or ``None`` where not needed."""
        grad_x = grad @ weight if needs[0] else None
        grad_w = _rows(grad).t() @ _rows(x) if needs[1] else None
        return grad_x, grad_w

    def per_output(self, values: Tensor) -> Tensor:
        """Return ``values`` of shape ``(out_features,)`` unchanged: outputs are the last axis."""
        return values

    def reduce_to_outputs(self, values: Tensor) -> Tensor:
        """Return the sum over all axes but the last, shape ``(out_features,)``."""
        return _rows(values).sum(0)


class IntegerProduct(LinearProduct):
    """A linear product that was taken with 8-bit integers; the gradient of its weights is, too."""


class OneHotProduct(LinearProduct):
    """``x @ weight.T`` for inputs that are a diagonal matrix, of which only the diagonal is given.

    Inputs ``(in_features, 1)``, weights ``(out_features, in_features)``. Equal to the whole product
    bit for bit; without gradients.

    Example:
        >>> import torch
        >>> OneHotProduct().forward(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[3.],
                [8.]])
    """

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the product, shape ``(in_features, out_features)``."""
        return x * weight.t().contiguous()


class StackedProduct(NamedTuple):
    """``x @ weight.T`` for equal tiles side by side, in one batched product.

    Inputs ``(tiles, batch, in_features)``, weights ``(tiles, out_features, in_features)``.

    Example:
        >>> import torch
        >>> StackedProduct().forward(torch.ones(2, 3, 4), torch.ones(2, 5, 4)).shape
        torch.Size([2, 3, 5])
    """

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the products, shape ``(tiles, batch, out_features)``."""
        return torch.bmm(x, weight.transpose(1, 2))

    def pair(self, x: Tensor, other: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return both products, each of shape ``(tiles, batch, out_features)``."""
        first, second = self.forward(torch.cat((x, other), 1), weight).chunk(2, 1)
        return first, second

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, needs: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return gradients shaped as ``x`` and ``weight``, or ``None`` where not needed."""
        grad_x = torch.bmm(grad, weight) if needs[0] else None
        grad_w = torch.bmm(grad.transpose(1, 2), x) if needs[1] else None
        return grad_x, grad_w

    def per_output(self, values: Tensor) -> Tensor:
        """Return ``values`` of shape ``(tiles, out_features)`` with an axis for the batch."""
        return values.unsqueeze(-2)

    def reduce_to_outputs(self, values: Tensor) -> Tensor:
        """Return the sum over the batch, shape ``(tiles, out_features)``."""
        return values.sum(-2)


def _rows(values: Tensor) -> Tensor:
    """Return vectors along the last axis as a matrix; also a single vector or an empty batch."""
    return values.reshape(-1, values.shape[-1])


class ConvProduct(NamedTuple):
    """A convolution of one to three dimensions, without unfolding.

    Inputs ``(batch, channels, *space)``, weights ``(out, channels / groups, *kernel)``.

    Example:
        >>> import torch
        >>> product = ConvProduct((1, 1), (0, 0), (1, 1), 1)
        >>> product.forward(torch.ones(1, 1, 3, 3), torch.ones(2, 1, 3, 3)).shape
        torch.Size([1, 2, 1, 1])
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the convolution, shape ``(batch, out, *space)``."""
        zeros = (0,) * len(self.stride)
        return torch.convolution(
            x, weight, None, self.stride, self.padding, self.dilation, False, zeros, self.groups
        )

    def pair(self, x: Tensor, other: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return both convolutions, each of shape ``(batch, out, *space)``."""
        first, second = self.forward(torch.cat((x, other)), weight).chunk(2)
        return first, second

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, needs: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return gradients shaped as ``x`` and ``weight``, or ``None`` where not needed."""
        zeros = (0,) * len(self.stride)
        grad_x, grad_w, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, self.stride, self.padding, self.dilation, False, zeros,
            self.groups, (*needs, False),
        )  # fmt: skip
        return grad_x, grad_w

    def per_output(self, values: Tensor) -> Tensor:
        """Return ``values`` of shape ``(out,)`` as ``(out, 1, ...)``, since outputs are axis 1."""
        return values.view(-1, *(1,) * len(self.stride))

    def reduce_to_outputs(self, values: Tensor) -> Tensor:
        """Return the sum over all axes but the second, shape ``(out,)``."""
        return values.flatten(2).sum((0, 2))

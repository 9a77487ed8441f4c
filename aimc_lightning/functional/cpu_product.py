"""The products of a tile between rows; convolutions see them as images with channels last."""

import torch
from torch import Tensor

from aimc_lightning.functional.product import ConvProduct, Product


class RowProduct:
    """A product between rows, ``(rows, channels)``: one per vector or per place of an image.

    With channels last a convolution needs no copies, and is faster than with planes.

    Args:
        product: The product.
        shape: Shape of its inputs as the layer sees them.
        weight: Its weights, of which only the shape matters.

    Example:
        >>> from aimc_lightning.functional.product import LinearProduct
        >>> x, weight = torch.ones(1, 2), torch.ones(3, 2)
        >>> RowProduct(LinearProduct(), x.shape, weight).forward(x, weight)
        tensor([[2., 2., 2.]])
    """

    def __init__(self, product: Product, shape: torch.Size, weight: Tensor) -> None:
        self.product = product
        self.space = self.output_space = torch.Size()
        self.output_shape = torch.Size([*shape[:-1], weight.shape[0]])
        # torch keeps channels last in two and three dimensions only.
        self.is_line = False
        if isinstance(product, ConvProduct):
            self.space = shape[2:]
            self.output_space = _output_space(product, shape[2:], weight.shape[2:])
            self.output_shape = torch.Size([shape[0], weight.shape[0], *self.output_space])
            self.is_line = len(product.stride) == 1
            if self.is_line:
                self.product = ConvProduct(
                    (1, *product.stride),
                    (0, *product.padding),
                    (1, *product.dilation),
                    product.groups,
                )
                self.space = torch.Size([1, *self.space])
                self.output_space = torch.Size([1, *self.output_space])

    def forward(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Return the rows of the product."""
        weight = weight.unsqueeze(2) if self.is_line else weight
        return _rows(self.product.forward(_image(rows, self.space), weight), self.space)

    def from_rows(self, rows: Tensor) -> Tensor:
        """Return rows of the product in the shape that the layer sees, without a copy."""
        if not self.space:
            return rows.view(self.output_shape)
        return _image(rows, self.output_shape[2:])

    def to_rows(self, outputs: Tensor) -> Tensor:
        """Return the rows from which :meth:`from_rows` made ``outputs``, without a copy."""
        if not self.space:
            return outputs.view(-1, outputs.shape[-1])
        return _rows(outputs, self.output_space)

    def backward(
        self, grad: Tensor, rows: Tensor, weight: Tensor, needs: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of rows and weight, or ``None`` where not needed.

        Args:
            grad: Gradient of the product, in rows.
            rows: Inputs of the product.
            weight: Weights of the product.
            needs: Which of the two gradients.
        """
        weight = weight.unsqueeze(2) if self.is_line else weight
        grad_rows, grad_w = self.product.backward(
            _image(grad, self.output_space), _image(rows, self.space), weight, needs
        )
        if grad_rows is not None:
            grad_rows = _rows(grad_rows, self.space)
        if grad_w is not None and self.is_line:
            grad_w = grad_w.squeeze(2)
        return grad_rows, grad_w


def _output_space(product: ConvProduct, space: torch.Size, kernel: torch.Size) -> torch.Size:
    return torch.Size(
        (size + 2 * padding - dilation * (width - 1) - 1) // stride + 1
        for size, width, stride, padding, dilation in zip(
            space, kernel, product.stride, product.padding, product.dilation, strict=True
        )
    )


def _image(rows: Tensor, space: torch.Size) -> Tensor:
    return rows.view(-1, *space, rows.shape[-1]).movedim(-1, 1) if space else rows


def _rows(image: Tensor, space: torch.Size) -> Tensor:
    # Contiguous already, unless a convolution chose another layout.
    return image.movedim(1, -1).contiguous().flatten(0, -2) if space else image.contiguous()

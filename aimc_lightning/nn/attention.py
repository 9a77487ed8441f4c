"""Multi-head attention with its projections on analog tiles; scores and sums are digital."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.nn.base import adopt_with_arrays, is_analog, restore

_PARTS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class AnalogMultiheadAttention(nn.MultiheadAttention):
    """A multi-head attention whose projections run on analog tiles.

    Query, key and value projection have tiles of their own, since their inputs may differ; with a
    packed ``in_proj_weight`` each takes its third. ``out_proj`` is a layer of its own and converted
    like any other. Parameters keep their names. Make one with :meth:`from_digital`.

    Example:
        >>> layer = AnalogMultiheadAttention.from_digital(nn.MultiheadAttention(8, 2), TileConfig())
        >>> x = torch.zeros(5, 1, 8)
        >>> layer(x, x, x)[0].shape
        torch.Size([5, 1, 8])
    """

    analog: nn.ModuleDict

    @classmethod
    def from_digital(
        cls, layer: nn.MultiheadAttention, config: TileConfig
    ) -> "AnalogMultiheadAttention":
        """Return an analog layer that shares the parameters of ``layer``."""
        return adopt_with_arrays(layer, cls, list(_PARTS), config)

    def to_digital(self) -> nn.MultiheadAttention:
        """Return the layer it was made from, with the same parameter objects."""
        return restore(self)

    def crossbar_weight(self, name: str) -> Tensor:
        """Return the logical weights that an array holds, ``(embed_dim, in)``."""
        packed: Tensor | None = self.in_proj_weight
        return getattr(self, name) if packed is None else packed.chunk(3)[_PARTS.index(name)]

    def parameter_name(self, name: str) -> str:
        """Return the name of the parameter that holds the weights of an array."""
        return name if self.in_proj_weight is None else "in_proj_weight"

    @property
    def bypass(self) -> bool:
        """Whether the digital layer itself may run; it reads the weight of ``out_proj`` itself."""
        out_proj: Any = self.out_proj
        if is_analog(out_proj) and not out_proj.analog.bypass:
            return False
        return all(array.bypass for array in self.analog.values())

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the attended values, and the attention weights if wanted.

        Args:
            query: ``(length, batch, embed_dim)``, batch first if so configured, or unbatched.
            key: ``(source, batch, kdim)``, likewise.
            value: ``(source, batch, vdim)``, likewise.
            key_padding_mask: Keys to ignore, ``(batch, source)``: true, or added to the scores.
            need_weights: Return the attention weights.
            attn_mask: ``(length, source)`` or ``(batch * heads, length, source)``, likewise.
            average_attn_weights: Average the weights over the heads.
            is_causal: Hint that ``attn_mask`` is the causal mask.

        Returns:
            Output shaped as ``query``; weights ``(batch, length, source)`` or, not averaged,
            ``(batch, heads, length, source)``, or ``None``.
        """
        if self.bypass:
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask,
                average_attn_weights, is_causal,
            )  # fmt: skip
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint about attn_mask, which is None; give the mask.")
        batched = query.dim() == 3
        hint = is_causal and key_padding_mask is None and not need_weights
        if not batched:
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        q, k, v = (self._heads(x) for x in self._projected(query, key, value, batched))
        mask = None if hint else self._merged_mask(attn_mask, key_padding_mask, q, k.shape[2])
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            out, weights = _attend(q, k, v, mask, dropout)
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=hint)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _projected(
        self, query: Tensor, key: Tensor, value: Tensor, batched: bool
    ) -> Iterator[Tensor]:
        """Yield the projections, batch first, ``(batch, length, embed_dim)``."""
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        extra = (None, self.bias_k, self.bias_v)
        inputs = (query, key, value)
        for name, x, bias, appended in zip(_PARTS, inputs, biases, extra, strict=True):
            if not batched:
                x = x.unsqueeze(0)
            elif not self.batch_first:
                x = x.transpose(0, 1)
            y = self.analog[name](x, self.crossbar_weight(name), LinearProduct())
            y = y if bias is None else y + bias.to(y.dtype)
            if appended is not None:
                y = torch.cat([y, appended.to(y.dtype).expand(len(y), 1, -1)], 1)
            if self.add_zero_attn and name != _PARTS[0]:
                y = F.pad(y, (0, 0, 0, 1))
            yield y

    def _heads(self, x: Tensor) -> Tensor:
        """Return ``(batch, length, embed_dim)`` as ``(batch, heads, length, head_dim)``."""
        return x.unflatten(2, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _merged_mask(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor, sources: int
    ) -> Tensor | None:
        """Return what is added to the scores, or ``None``, broadcastable to their shape."""
        mask = None
        if attn_mask is not None:
            mask = _additive(attn_mask, q, sources)
            if mask.dim() == 3:
                mask = mask.unflatten(0, (len(q), self.num_heads))
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, q, sources)[:, None, None]
            mask = padding if mask is None else mask + padding
        return mask


def _additive(mask: Tensor, q: Tensor, sources: int) -> Tensor:
    """Return a mask as numbers to add; keys that were appended are never masked."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(mask, float("-inf"))
    elif not mask.is_floating_point():
        raise TypeError(f"An attention mask must be boolean or floating point, got {mask.dtype}.")
    return F.pad(mask.to(q.dtype), (0, sources - mask.shape[-1]))


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """Return the weighted values and the weights, all ``(batch, heads, ...)``."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    scores = scores if mask is None else scores + mask
    weights = F.dropout(scores.softmax(-1), dropout)
    return weights @ v, weights

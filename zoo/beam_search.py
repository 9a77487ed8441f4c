"""Beam search for transducers: the likeliest text, summed over its alignments, in whole batches."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from aimc_lightning.zoo.speech import BLANK

State = tuple[Tensor, Tensor]
Text = tuple[int, ...]


@dataclass(frozen=True)
class _Beam:
    """The likeliest texts so far of each utterance.

    Attributes:
        texts: Symbols of each hypothesis, ``[batch][width]``.
        scores: Log-likelihood, ``(batch, width)``; minus infinity where there are fewer texts.
        predicted: What the prediction network knows after each text, ``(batch, width, joint)``.
        state: Its state, each ``(layers, batch, width, cells)``.
    """

    texts: list[list[Text]]
    scores: Tensor
    predicted: Tensor
    state: State


class BeamSearch:
    """Search for the likeliest texts of a batch.

    A symbol that is unlikely in each of its frames may still be likely in one of them, which taking
    the best in each frame misses: it drops the second of two equal neighbours.

    Source:
        Graves, "Sequence transduction with recurrent neural networks", arXiv 1211.3711, section
        2.6; here frame by frame, equal texts merged.
    """

    def __init__(
        self,
        predict: Callable[[Tensor, State | None], tuple[Tensor, State]],
        join: Callable[[Tensor, Tensor], Tensor],
        width: int,
        max_symbols: int,
    ) -> None:
        """Store the networks.

        Args:
            predict: Gives what is known ``(n, 1, joint)`` after symbols ``(n, 1)`` in a state, and
                the state after them, each part ``(layers, n, cells)``.
            join: Gives logits of what is known of frames and texts.
            width: Texts that are kept.
            max_symbols: Most symbols from one frame.
        """
        self.predict, self.join = predict, join
        self.width, self.max_symbols = width, max_symbols

    def __call__(self, encoded: Tensor, frames: Tensor) -> list[list[int]]:
        """Return the symbols of each utterance.

        Args:
            encoded: What is known of each frame, ``(batch, frames, joint)``.
            frames: Frames of each utterance, ``(batch,)``.
        """
        beam = self._start(encoded)
        for t in range(encoded.shape[1]):
            levels, ended = [beam], []
            for taken in range(self.max_symbols + 1):
                logits = self.join(encoded[:, t, None], levels[-1].predicted)
                scores = levels[-1].scores[..., None] + F.log_softmax(logits.float(), dim=-1)
                ended.append(scores[..., BLANK])
                if taken < self.max_symbols:
                    levels.append(self._extended(levels[-1], scores))
            beam = self._merged(levels, torch.stack(ended), (t < frames).tolist())
        best = beam.scores.argmax(dim=1).tolist()
        return [list(texts[i]) for texts, i in zip(beam.texts, best, strict=True)]

    def _start(self, encoded: Tensor) -> _Beam:
        """Return the empty text of each utterance."""
        batch = len(encoded)
        blank = torch.full((batch * self.width, 1), BLANK, device=encoded.device)
        scores = torch.full((batch, self.width), -math.inf, device=encoded.device)
        scores[:, 0] = 0
        texts: list[list[Text]] = [[()] * self.width for _ in range(batch)]
        return self._beam(texts, scores, blank, None)

    def _extended(self, beam: _Beam, scores: Tensor) -> _Beam:
        """Return the likeliest texts that are one symbol longer.

        Args:
            beam: The texts.
            scores: Log-likelihood after each next symbol, ``(batch, width, classes)``.
        """
        scores = scores.clone()
        scores[..., BLANK] = -math.inf
        best, place = scores.flatten(1).topk(self.width, dim=1)
        parent, symbols = place // scores.shape[2], place % scores.shape[2]
        rows = torch.arange(len(best), device=best.device)[:, None]
        texts = [
            [(*old[i], k) for i, k in zip(parents, new, strict=True)]
            for old, parents, new in zip(beam.texts, parent.tolist(), symbols.tolist(), strict=True)
        ]
        state = tuple(part[:, rows, parent].flatten(1, 2) for part in beam.state)
        return self._beam(texts, best, symbols.view(-1, 1), state)

    def _beam(
        self, texts: list[list[Text]], scores: Tensor, symbols: Tensor, state: State | None
    ) -> _Beam:
        """Return texts after the prediction network read their last symbols ``(n, 1)``."""
        predicted, after = self.predict(symbols, state)
        shape = scores.shape
        hidden, cell = (part.unflatten(1, shape) for part in after)
        return _Beam(texts, scores, predicted.view(*shape, -1), (hidden, cell))

    def _merged(self, levels: list[_Beam], ended: Tensor, active: list[bool]) -> _Beam:
        """Return the likeliest texts after a frame, equal ones as one.

        Args:
            levels: Texts by the number of their symbols from this frame.
            ended: Log-likelihood that nothing follows in this frame, ``(levels, batch, width)``.
            active: Whether each utterance has this frame.
        """
        scores = levels[0].scores.tolist()
        texts = list(levels[0].texts)
        places = [[(0, i) for i in range(self.width)] for _ in active]
        for number, found in enumerate(ended.transpose(0, 1).tolist()):
            if active[number]:
                known: dict[Text, tuple[float, tuple[int, int]]] = {}
                for level, row in enumerate(found):
                    for i, score in enumerate(row):
                        text = levels[level].texts[number][i]
                        before, place = known.get(text, (-math.inf, (level, i)))
                        known[text] = _log_add(before, score), place
                kept = sorted(known.items(), key=lambda item: -item[1][0])[: self.width]
                kept += kept[:1] * (self.width - len(kept))
                texts[number] = [text for text, _ in kept]
                places[number] = [place for _, (_, place) in kept]
                alone = len(known)
                scores[number] = [
                    s if i < alone else -math.inf for i, (_, (s, _)) in enumerate(kept)
                ]
        level, slot = torch.tensor(places, device=ended.device).unbind(-1)
        rows = torch.arange(len(active), device=ended.device)[:, None]
        predicted = torch.stack([beam.predicted for beam in levels])[level, rows, slot]
        hidden, cell = (
            torch.stack(parts)[level, :, rows, slot].movedim(2, 0)
            for parts in zip(*(beam.state for beam in levels), strict=True)
        )
        return _Beam(texts, ended.new_tensor(scores), predicted, (hidden, cell))


def _log_add(a: float, b: float) -> float:
    """Return ``log(exp(a) + exp(b))``."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))

"""RNN transducer, shared by its entries: loss over all alignments, network and its search."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_lightning.zoo.beam_search import BeamSearch, State
from aimc_lightning.zoo.speech import BLANK, Utterances, run_lstm


def transducer_loss(logits: Tensor, targets: Tensor, frames: Tensor, symbols: Tensor) -> Tensor:
    r"""Return the negative log-likelihood of each utterance, in nats, over all its alignments.

    .. math::
        \alpha(t, u) = \alpha(t-1, u)\, b(t-1, u) + \alpha(t, u-1)\, y(t, u-1)

    with the probabilities b of the blank and y of the next symbol. A row over u is one cumulative
    sum: with Y(t, u) the product of the first u symbols' probabilities in frame t,
    :math:`\alpha(t, u) / Y(t, u) = \sum_{v \le u} \alpha(t-1, v)\, b(t-1, v) / Y(t, v)`.

    Args:
        logits: Scores of the joint network, ``(batch, frames, symbols + 1, classes)``.
        targets: Symbols, int64, ``(batch, symbols)``; anything behind the end.
        frames: Frames of each utterance, at least 1, int64, ``(batch,)``.
        symbols: Symbols of each utterance, int64, ``(batch,)``.

    Returns:
        Shape ``(batch,)``.

    Raises:
        ValueError: If logits and targets do not fit together.

    Source:
        Graves, "Sequence transduction with recurrent neural networks", arXiv 1211.3711, eqs. 16-18.
    """
    batch, steps, positions, _ = logits.shape
    if targets.shape != (batch, positions - 1):
        raise ValueError(
            f"logits {tuple(logits.shape)} need targets {(batch, positions - 1)}, one symbol less "
            f"than their third axis; got {tuple(targets.shape)}."
        )
    likelihoods = F.log_softmax(logits.float(), dim=-1)
    blank = likelihoods[..., BLANK]
    index = targets[:, None, :, None].expand(-1, steps, -1, 1)
    following = likelihoods[:, :, :-1].gather(-1, index).squeeze(-1)
    emitted = F.pad(following.cumsum(-1), (1, 0))  # log Y
    row = emitted[:, 0]
    rows = [row]
    for t in range(1, steps):
        row = emitted[:, t] + torch.logcumsumexp(row + blank[:, t - 1] - emitted[:, t], dim=-1)
        rows.append(row)
    # The last symbol of all is a blank in the last frame.
    ends = torch.stack(rows, dim=1) + blank
    return -ends[torch.arange(batch, device=ends.device), frames - 1, symbols]


class Transducer(nn.Module):
    """Encoder of the speech, prediction network of the symbols so far, and joint network of both.

    The embedding of the symbols is digital; all other matrices are LSTM and linear layers.
    """

    def __init__(
        self,
        encoder: nn.LSTM,
        prediction: nn.LSTM,
        joint: int,
        classes: int,
        *,
        combine: Literal["add", "multiply"] = "add",
        dropout: float = 0.0,
        max_symbols: int = 3,
        beam: int = 4,
    ) -> None:
        """Build the network.

        Args:
            encoder: Batch-first LSTM over the features.
            prediction: Batch-first LSTM over the embedded symbols; its inputs are the embedding.
            joint: Size of the space in which both are combined.
            classes: Symbols, the blank included.
            combine: Whether the joint network adds or multiplies both (the latter as Saon et al.,
                arXiv 2103.09935, propose).
            dropout: Share of the values set to zero before the joint network.
            max_symbols: Most symbols that the search takes from one frame.
            beam: Texts that the search keeps.
        """
        super().__init__()
        self.encoder, self.prediction = encoder, prediction
        self.embedding = nn.Embedding(classes, prediction.input_size)
        self.from_encoder = nn.Linear(encoder.hidden_size * (1 + encoder.bidirectional), joint)
        self.from_prediction = nn.Linear(prediction.hidden_size, joint)
        self.output = nn.Linear(joint, classes)
        self.dropout = nn.Dropout(dropout)
        self.combine = combine
        self.max_symbols, self.beam = max_symbols, beam

    def forward(
        self, features: Tensor, frames: Tensor | None = None, targets: Tensor | None = None
    ) -> Tensor:
        """Return the logits ``(batch, frames, symbols + 1, classes)``.

        Args:
            features: Features ``(batch, frames, features)``.
            frames: Frames of each utterance, ``(batch,)``; None takes all.
            targets: Symbols, ``(batch, symbols)``; None: only before the first symbol.
        """
        if targets is None:
            targets = torch.empty(len(features), 0, dtype=torch.int64, device=features.device)
        predicted, _ = self.predict(F.pad(targets, (1, 0), value=BLANK), None)
        encoded = self.encode(features, frames)
        return self.join(encoded.unsqueeze(2), predicted.unsqueeze(1))

    def encode(self, features: Tensor, frames: Tensor | None) -> Tensor:
        """Return what is known of each frame, ``(batch, frames, joint)``."""
        return self.from_encoder(self.dropout(run_lstm(self.encoder, features, frames)))

    def predict(self, symbols: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Return what is known after each symbol, ``(batch, symbols, joint)``, and the state."""
        out, state = self.prediction(self.embedding(symbols), state)
        return self.from_prediction(self.dropout(out)), state

    def join(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """Return the logits of both together; shapes are broadcast."""
        both = encoded + predicted if self.combine == "add" else encoded * predicted
        return self.output(torch.tanh(both))

    def loss(self, batch: Utterances) -> Tensor:
        """Return the mean negative log-likelihood of a symbol, in nats."""
        logits = self(batch.features, batch.frames, batch.targets)
        losses = transducer_loss(logits, batch.targets, batch.frames, batch.symbols)
        return (losses / batch.symbols.clamp(min=1)).mean()

    def transcribe(self, features: Tensor, frames: Tensor) -> list[list[int]]:
        """Return the symbols of each utterance, the likeliest text that beam search finds."""
        search = BeamSearch(self.predict, self.join, self.beam, self.max_symbols)
        return search(self.encode(features, frames), frames)

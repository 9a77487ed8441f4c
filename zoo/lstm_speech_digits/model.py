"""Bidirectional LSTM that spells spoken digits with CTC."""

from itertools import groupby
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.speech import BLANK, SpeechModule, Utterances, run_lstm

FEATURES = 200  # 5 frames of 40 log-mel bands
SYMBOLS = 11  # blank and ten digits


class LSTMWithCTC(nn.Module):
    """LSTM layers in both directions and an output layer over blank and digits.

    The blank and repetitions are removed from the likeliest symbols of the frames (Graves et al.,
    "Connectionist Temporal Classification", ICML 2006).
    """

    def __init__(self, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            FEATURES, hidden, layers, batch_first=True, dropout=dropout, bidirectional=True
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, SYMBOLS)

    def forward(self, features: Tensor, frames: Tensor | None = None) -> Tensor:
        """Return the logits ``(batch, frames, 11)`` of features ``(batch, frames, 200)``.

        Args:
            features: Features, zero behind the end.
            frames: Frames of each utterance, ``(batch,)``; None takes all.
        """
        return self.output(self.dropout(run_lstm(self.lstm, features, frames)))

    def loss(self, batch: Utterances) -> Tensor:
        """Return the mean negative log-likelihood of a digit, in nats."""
        likelihoods = F.log_softmax(self(batch.features, batch.frames), dim=-1).transpose(0, 1)
        return F.ctc_loss(likelihoods, batch.targets, batch.frames, batch.symbols, blank=BLANK)

    def transcribe(self, features: Tensor, frames: Tensor) -> list[list[int]]:
        """Return the digits of each utterance, as symbols 1 to 10."""
        best = self(features, frames).argmax(dim=-1)
        paths = [path[:count] for path, count in zip(best.tolist(), frames.tolist(), strict=True)]
        return [[s for s, _ in groupby(path) if s != BLANK] for path in paths]


class LSTMSpeechDigits(SpeechModule):
    """Recogniser of digit strings; see :class:`~aimc_lightning.zoo.speech.SpeechModule`."""

    def __init__(
        self,
        weights: str | None = None,
        hidden: int = 96,
        layers: int = 2,
        dropout: float = 0.2,
        learning_rate: float = 0.003,
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            hidden: Cells of each layer and direction.
            layers: LSTM layers.
            dropout: Share of the values set to zero behind each layer.
            learning_rate: Of Adam; only used when the command line names no other optimizer.
        """
        super().__init__(LSTMWithCTC(hidden, layers, dropout), weights, learning_rate)
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights


@register_model(
    task="recognise strings of spoken digits",
    metric="test_wer",
    chance=1.0,
    data="Free Spoken Digit Dataset (3,000 recordings, six speakers), joined to strings",
    licence="data CC BY-SA 4.0",
)
def lstm_speech_digits(**arguments: Any) -> LSTMSpeechDigits:  # noqa: ANN401
    """Return the module; arguments as of :class:`LSTMSpeechDigits`."""
    return LSTMSpeechDigits(**arguments)

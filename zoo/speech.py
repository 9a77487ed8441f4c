"""Speech recognition, shared by its entries: log-mel features, padded batches, word error rate."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torchmetrics.text import WordErrorRate

from aimc_lightning.zoo.weights import load_weights

BLANK = 0  # number of the blank of CTC and transducer; symbols count from 1
WINDOW_S, HOP_S = 0.025, 0.010


class Utterances(NamedTuple):
    """A batch of utterances, padded to the longest.

    Attributes:
        features: Float, ``(batch, frames, features)``, zero behind the end.
        frames: Frames of each utterance, int64, ``(batch,)``.
        targets: Symbols of each utterance, int64, ``(batch, symbols)``, 0 behind the end.
        symbols: Symbols of each utterance, int64, ``(batch,)``.
    """

    features: Tensor
    frames: Tensor
    targets: Tensor
    symbols: Tensor


def pad_utterances(utterances: Sequence[tuple[Tensor, Tensor]]) -> Utterances:
    """Return one batch of features ``(frames, features)`` with their symbols ``(symbols,)``."""
    features, targets = zip(*utterances, strict=True)
    return Utterances(
        pad_sequence(features, batch_first=True),
        torch.tensor([len(part) for part in features]),
        pad_sequence(targets, batch_first=True, padding_value=BLANK),
        torch.tensor([len(part) for part in targets]),
    )


def log_mel(samples: Tensor, sample_rate_hz: int, bins: int) -> Tensor:
    """Return the logarithm of the power in mel bands, mean 0 and deviation 1 in each band.

    Windows of 25 ms every 10 ms. Power 40 dB below the utterance's mean is the floor.

    Args:
        samples: Waveform, float, ``(samples,)``; its level does not matter.
        sample_rate_hz: Sampling rate in hertz.
        bins: Number of bands.

    Returns:
        Shape ``(frames, bins)``.
    """
    window = round(WINDOW_S * sample_rate_hz)
    points = 2 * 2 ** (window - 1).bit_length()  # fine enough for the narrowest band
    spectrum = torch.stft(
        samples,
        points,
        hop_length=round(HOP_S * sample_rate_hz),
        win_length=window,
        window=torch.hann_window(window),
        pad_mode="constant",
        return_complex=True,
    )
    power = mel_filters(bins, points, sample_rate_hz) @ spectrum.abs().square()
    bands = (power / power.mean().clamp(min=1e-20) + 1e-4).log().T
    return (bands - bands.mean(0)) / bands.std(0).clamp(min=1e-3)


def mel_filters(bins: int, points: int, sample_rate_hz: int) -> Tensor:
    """Return triangular filters, equally wide on the mel scale, ``(bins, points // 2 + 1)``.

    Source:
        Mel scale 2595 log10(1 + f / 700 Hz): O'Shaughnessy, Speech Communication, 1987.
    """
    top = 2595 * torch.tensor(1 + sample_rate_hz / 2 / 700, dtype=torch.float64).log10()
    corners = 700 * (10 ** (torch.linspace(0, 1, bins + 2, dtype=torch.float64) * top / 2595) - 1)
    frequency = torch.linspace(0, sample_rate_hz / 2, points // 2 + 1, dtype=torch.float64)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    return torch.minimum(rising, falling).clamp(min=0).float()


def stack_frames(features: Tensor, count: int) -> Tensor:
    """Return ``(frames // count, count * features)``: neighbouring frames as one, the rest cut."""
    whole = len(features) // count
    return features[: whole * count].reshape(whole, -1)


def run_lstm(lstm: nn.LSTM, features: Tensor, frames: Tensor | None) -> Tensor:
    """Return the outputs of a batch-first LSTM that does not see what lies behind the end.

    Args:
        lstm: The layer.
        features: Inputs, ``(batch, frames, features)``.
        frames: Frames of each utterance, ``(batch,)``; None takes all.
    """
    if frames is None:
        return lstm(features)[0]
    packed = pack_padded_sequence(features, frames.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=features.shape[1])[0]


class SpeechModule(LightningModule):
    """Trains and scores a network that turns speech into symbols.

    Logs ``train_loss``, ``val_wer`` and ``test_wer``: edit distance between recognised and spoken
    words, divided by the number of spoken ones.

    The network has ``loss(batch)``, mean negative log-likelihood of a symbol in nats, and
    ``transcribe(features, frames)``, the recognised symbols of each utterance as a list.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: str | None,
        learning_rate: float,
        space: int | None = None,
    ) -> None:
        """Store the network.

        Args:
            network: See above.
            weights: Safetensors file of trained digital weights; None draws new ones.
            learning_rate: Of Adam.
            space: Symbol between two words; None: each symbol is a word.
        """
        super().__init__()
        self.network = network
        if weights is not None:
            load_weights(network, weights)
        self.learning_rate, self.space = learning_rate, space
        self.val_wer, self.test_wer = WordErrorRate(), WordErrorRate()

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of the network for features ``(batch, frames, features)``."""
        return self.network(features)

    def training_step(self, batch: Utterances, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        loss = self.network.loss(batch)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.frames))
        return loss

    def validation_step(self, batch: Utterances, batch_idx: int) -> None:
        """Log ``val_wer``."""
        self.val_wer(self.predict_step(batch, batch_idx), self.spoken(batch))
        self.log("val_wer", self.val_wer, on_epoch=True, prog_bar=True)

    def test_step(self, batch: Utterances, batch_idx: int) -> None:
        """Log ``test_wer``."""
        self.test_wer(self.predict_step(batch, batch_idx), self.spoken(batch))
        self.log("test_wer", self.test_wer, on_epoch=True)

    def predict_step(self, batch: Utterances, batch_idx: int) -> list[str]:
        """Return what was recognised, as words with blanks between them."""
        found = self.network.transcribe(batch.features, batch.frames)
        return [self._text(symbols) for symbols in found]

    def spoken(self, batch: Utterances) -> list[str]:
        """Return what was said, in the same form."""
        pairs = zip(batch.targets.tolist(), batch.symbols.tolist(), strict=True)
        return [self._text(symbols[:count]) for symbols, count in pairs]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def _text(self, symbols: Sequence[int]) -> str:
        if self.space is None:
            return " ".join(str(symbol) for symbol in symbols)
        # Any letters do; these are as many as needed in one piece.
        return "".join(" " if symbol == self.space else chr(0x100 + symbol) for symbol in symbols)

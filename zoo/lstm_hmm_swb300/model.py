"""Bidirectional LSTM that tells the state of a hidden Markov model in each frame of speech."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from aimc_lightning.zoo.registry import register_model
from aimc_lightning.zoo.weights import load_weights

FEATURES = 140  # speaker-adapted features of 40, i-vector of 100
STATES = 32_000  # context-dependent states of the hidden Markov model


class AcousticModel(nn.Module):
    """Four LSTM layers of 512 cells in both directions, a bottleneck of 256, 32,000 states.

    Source:
        Rasch et al., Nature Communications 14, 5282 (2023), name an LSTM acoustic model; all sizes
        are from memory, not checked against the paper. They give 30.0 million parameters, and
        about 30 million are remembered of the paper.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, 512, 4, batch_first=True, dropout=dropout, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.bottleneck = nn.Linear(1024, 256)
        self.output = nn.Linear(256, STATES)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits ``(pieces, frames, 32000)`` of features ``(pieces, frames, 140)``."""
        return self.output(self.bottleneck(self.dropout(self.lstm(features)[0])))


class LSTMHmmSwb300(LightningModule):
    """Frame classifier; logs ``train_loss``, ``val_frame_error`` and ``test_frame_error``.

    The frame error is the share of frames whose likeliest state is not the aligned one. The word
    error rate of papers needs a decoder with lexicon and language model besides.
    """

    def __init__(
        self, weights: str | None = None, dropout: float = 0.2, learning_rate: float = 0.1
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            dropout: Share of the values set to zero behind each layer.
            learning_rate: Of SGD; only used when the command line names no other optimizer.
        """
        super().__init__()
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint brings its own weights
        self.network = AcousticModel(dropout)
        if weights is not None:
            load_weights(self.network, weights)
        self.learning_rate = learning_rate
        self.val_frame_error, self.test_frame_error = MeanMetric(), MeanMetric()

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits ``(pieces, frames, 32000)`` of features ``(pieces, frames, 140)``."""
        return self.network(features)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross entropy of one frame, in nats."""
        features, states = batch
        loss = F.cross_entropy(self(features).flatten(0, 1), states.flatten())
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val_frame_error``."""
        self.val_frame_error(self._wrong(batch))
        self.log("val_frame_error", self.val_frame_error, on_epoch=True, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``test_frame_error``."""
        self.test_frame_error(self._wrong(batch))
        self.log("test_frame_error", self.test_frame_error, on_epoch=True)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the likeliest state of each frame, ``(pieces, frames)``."""
        return self(batch[0]).argmax(dim=-1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate, momentum=0.9)

    def _wrong(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return 1 for each frame that was told wrongly, else 0; as floats."""
        return (self.predict_step(batch, 0) != batch[1]).float()


@register_model(
    task="tell the state of the hidden Markov model in English telephone speech",
    metric="test_frame_error",
    chance=1 - 1 / STATES,
    data="Switchboard (300 hours)",
    licence="data: Linguistic Data Consortium LDC97S62, not at hand",
)
def lstm_hmm_swb300(**arguments: Any) -> LSTMHmmSwb300:  # noqa: ANN401
    """Return the module; arguments as of :class:`LSTMHmmSwb300`."""
    return LSTMHmmSwb300(**arguments)

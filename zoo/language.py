"""LSTM language models, shared by their entries: the network, how it is trained and scored."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from aimc_lightning.zoo.weights import load_weights

State = tuple[Tensor, Tensor]


class LSTMLanguageModel(nn.Module):
    """Embedding, LSTM layers and an output layer over the vocabulary, dropout between them.

    Embedding and layers are equally wide; ``words`` is the size of the vocabulary.
    """

    def __init__(self, words: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(hidden, hidden, layers, dropout=between, batch_first=True)
        self.output = nn.Linear(hidden, words)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.output.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return logits ``(streams, steps, words)`` and the state after the last token.

        Args:
            tokens: Token numbers, int64, ``(streams, steps)``.
            state: Hidden and cell state, each ``(layers, streams, hidden)``; None is zero.
        """
        out, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return self.output(self.dropout(out)), state


class LanguageModule(LightningModule):
    """Trains and scores a language model that reads on where the last batch ended.

    Logs ``train_loss``, ``val_ppl``, ``test_ppl`` (exponential of the mean negative log-likelihood
    in nats per token) and ``val_acc``, ``test_acc`` (share of next tokens that were likeliest).

    A checkpoint holds the state of the LSTM in each process, so that a run continued in the middle
    of an epoch reads on. With ``AnalogTraining``, which restores the random numbers as well, it is
    the uninterrupted run bit for bit; without, dropout draws anew.
    """

    def __init__(self, network: LSTMLanguageModel, weights: str | None, lr: float) -> None:
        super().__init__()
        self.network = network
        if weights is not None:
            load_weights(network, weights)
        self.lr = lr
        self._states: dict[str, State] = {}  # by pass: training goes on after a validation
        self._loaded: Tensor | None = None
        self.val_nll, self.val_acc = MeanMetric(), MeanMetric()
        self.test_nll, self.test_acc = MeanMetric(), MeanMetric()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits ``(streams, steps, words)`` of text that begins here."""
        return self.network(tokens)[0]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean negative log-likelihood of the next tokens, in nats."""
        loss = self._read_on(batch, batch_idx, "train")[0].mean()
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Collect ``val_ppl`` and log ``val_acc``."""
        nll, hits = self._score(batch, batch_idx)
        self.val_nll.update(nll)
        self.val_acc.update(hits)
        self.log("val_acc", self.val_acc, on_epoch=True, batch_size=hits.numel())

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Collect ``test_ppl`` and log ``test_acc``."""
        nll, hits = self._score(batch, batch_idx)
        self.test_nll.update(nll)
        self.test_acc.update(hits)
        self.log("test_acc", self.test_acc, on_epoch=True, batch_size=hits.numel())

    def on_validation_epoch_end(self) -> None:
        """Log ``val_ppl``."""
        self.log("val_ppl", self.val_nll.compute().exp(), prog_bar=True)
        self.val_nll.reset()

    def on_test_epoch_end(self) -> None:
        """Log ``test_ppl``."""
        self.log("test_ppl", self.test_nll.compute().exp())
        self.test_nll.reset()

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the likeliest next tokens."""
        return self(batch[0]).argmax(dim=-1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the LSTM's state in training, of all processes."""
        if "train" in self._states:
            states: list[Any] = [torch.stack(self._states["train"]).cpu()]  # hidden and cell
            if self.trainer.world_size > 1:
                states = states * self.trainer.world_size
                torch.distributed.all_gather_object(states, states[self.global_rank])
            checkpoint["text_state"] = torch.stack(states)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the states over; they are used when training goes on."""
        self._loaded = checkpoint.get("text_state")

    def on_train_start(self) -> None:
        """Go on with this process's state."""
        states, self._loaded = self._loaded, None
        if states is None:
            return
        if len(states) != self.trainer.world_size:
            rank_zero_warn(
                f"The checkpoint holds the text state of {len(states)} processes, this run has "
                f"{self.trainer.world_size}: the running epoch goes on with a state of zero."
            )
            return
        hidden, cell = states[self.global_rank].to(self.device).unbind()
        self._states["train"] = hidden, cell

    def _score(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        """Return the negative log-likelihood of each next token, and whether it was likeliest."""
        nll, logits = self._read_on(batch, batch_idx, "eval")
        return nll, (logits.argmax(dim=-1) == batch[1]).flatten().float()

    def _read_on(
        self, batch: tuple[Tensor, Tensor], batch_idx: int, reader: str
    ) -> tuple[Tensor, Tensor]:
        """Return the negative log-likelihood of each next token, and the logits."""
        tokens, following = batch
        state = self._states.get(reader) if batch_idx > 0 else None
        logits, (hidden, cell) = self.network(tokens, state)
        self._states[reader] = hidden.detach(), cell.detach()
        nll = F.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none")
        return nll, logits

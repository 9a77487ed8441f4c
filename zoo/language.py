"""Word-level language modelling, shared by its entries: text as parallel streams, and an LSTM."""

import zipfile
from collections import Counter
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MeanMetric

from aimc_lightning.zoo.weights import load_weights

State = tuple[Tensor, Tensor]


class TextStreams(Dataset):
    """One long text, cut into parallel streams that are read piece by piece."""

    def __init__(self, tokens: Tensor, streams: int, steps: int) -> None:
        """Cut the text.

        Args:
            tokens: Word numbers in reading order, int64, shape ``(words,)``.
            streams: Parallel streams, which make up the batch; the rest of the text is left out.
            steps: Words of each stream in a piece; the last piece may be shorter.

        Raises:
            ValueError: If the text is too short for a pair of words in each stream.
        """
        length = len(tokens) // streams
        if length < 2:
            raise ValueError(f"{len(tokens)} words are too few for {streams} streams.")
        self.text, self.steps = tokens[: length * streams].view(streams, length), steps

    def __len__(self) -> int:
        """Return the number of pieces."""
        return -(-(self.text.shape[1] - 1) // self.steps)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return words and the words that follow them, each ``(streams, steps)``."""
        if not 0 <= index < len(self):
            raise IndexError(f"piece {index} of {len(self)}.")
        begin = index * self.steps
        end = min(begin + self.steps, self.text.shape[1] - 1)
        return self.text[:, begin:end], self.text[:, begin + 1 : end + 1]


class ZippedText(LightningDataModule):
    """Training, validation and test text from one zip file, tokenised at blanks."""

    def __init__(
        self,
        archive: str,
        members: tuple[str, str, str],
        data_dir: str | None = None,
        batch_size: int = 20,
        steps: int = 35,
    ) -> None:
        """Store the settings.

        Args:
            archive: Path of the zip file below ``data_dir``.
            members: Names of the training, validation and test text in it.
            data_dir: Folder of the data; there is no default.
            batch_size: Parallel streams in training; evaluation uses 10.
            steps: Words of each stream in a batch, over which gradients flow back.
        """
        super().__init__()
        self.archive, self.members, self.data_dir = archive, members, data_dir
        self.batch_size, self.steps = batch_size, steps
        self.texts: list[Tensor] = []
        self.vocabulary: dict[str, int] = {}

    def setup(self, stage: str) -> None:
        """Read the three texts, once; the vocabulary is that of the training text."""
        if self.texts:
            return
        words = [self._read(member) for member in self.members]
        counts = Counter(words[0])
        order = sorted(counts, key=lambda word: (-counts[word], word))
        self.vocabulary = {word: number for number, word in enumerate(order)}
        unknown = {word for text in words[1:] for word in text} - set(order)
        if unknown:
            raise ValueError(
                f"{len(unknown)} words of {self.archive} are not in its training text, for example "
                f"{min(unknown)!r}: use the version in which rare words are <unk>."
            )
        self.texts = [torch.tensor([self.vocabulary[w] for w in text]) for text in words]

    def train_dataloader(self) -> DataLoader:
        """Return the training text in reading order."""
        return self._loader(0, self.batch_size)

    def val_dataloader(self) -> DataLoader:
        """Return the validation text."""
        return self._loader(1, 10)

    def test_dataloader(self) -> DataLoader:
        """Return the test text."""
        return self._loader(2, 10)

    def _loader(self, part: int, streams: int) -> DataLoader:
        return DataLoader(TextStreams(self.texts[part], streams, self.steps), batch_size=None)

    def _read(self, member: str) -> list[str]:
        """Return the words of one text, each line closed by ``<eos>``."""
        path = Path(self.data_dir or ".", self.archive)
        if self.data_dir is None or not path.is_file():
            raise FileNotFoundError(
                f"no {self.archive} in the data folder {str(self.data_dir)!r}: give the folder "
                "that holds it with --data DIR."
            )
        with zipfile.ZipFile(path) as archive:
            text = archive.read(member).decode("utf-8")
        return [word for line in text.splitlines() for word in (*line.split(), "<eos>")]


class LSTMLanguageModel(nn.Module):
    """Embedding, LSTM layers and an output layer over the vocabulary, dropout between them."""

    def __init__(self, words: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, dropout=dropout, batch_first=True)
        self.output = nn.Linear(hidden, words)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.output.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return logits ``(streams, steps, words)`` and the state after the last word.

        Args:
            tokens: Word numbers, int64, ``(streams, steps)``.
            state: Hidden and cell state, each ``(layers, streams, hidden)``; None is zero.
        """
        out, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return self.output(self.dropout(out)), state


class LanguageModule(LightningModule):
    """Trains and scores a language model that reads on where the last batch ended.

    Logs ``train_loss``, ``val_ppl``, ``test_ppl`` (exponential of the mean negative log-likelihood
    in nats per word) and ``val_acc``, ``test_acc`` (share of next words that were likeliest). A run
    continued in the middle of an epoch begins with a state of zero.
    """

    def __init__(self, network: LSTMLanguageModel, weights: str | None, lr: float) -> None:
        super().__init__()
        self.network = network
        if weights is not None:
            load_weights(network, weights)
        self.lr = lr
        self.state: State | None = None
        self.val_nll, self.val_acc = MeanMetric(), MeanMetric()
        self.test_nll, self.test_acc = MeanMetric(), MeanMetric()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits ``(streams, steps, words)`` of text that begins here."""
        return self.network(tokens)[0]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean negative log-likelihood of the next words, in nats."""
        loss = self._read_on(batch, batch_idx)[0].mean()
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Collect ``val_ppl`` and log ``val_acc``."""
        nll, hits = self._read_on(batch, batch_idx)
        self.val_nll.update(nll)
        self.val_acc.update(hits)
        self.log("val_acc", self.val_acc, on_epoch=True, batch_size=hits.numel())

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Collect ``test_ppl`` and log ``test_acc``."""
        nll, hits = self._read_on(batch, batch_idx)
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
        """Return the likeliest next words."""
        return self(batch[0]).argmax(dim=-1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def _read_on(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        """Return the negative log-likelihood of each next word, and whether it was likeliest."""
        tokens, following = batch
        logits, (hidden, cell) = self.network(tokens, None if batch_idx == 0 else self.state)
        self.state = hidden.detach(), cell.detach()
        nll = F.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none")
        return nll, (logits.argmax(dim=-1) == following).flatten().float()

"""Long texts read as parallel streams, and the data modules of the language models."""

import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor


class TextStreams:
    """One long text, cut into parallel streams that are read piece by piece, in order.

    A loader of its own rather than a ``DataLoader``: Lightning would give that another sampler in
    each of several processes, which would tear the text apart. Its state is the next piece, so that
    Lightning continues an epoch where a checkpoint was written.
    """

    def __init__(
        self, tokens: Tensor, streams: int, steps: int, rank: int = 0, world_size: int = 1
    ) -> None:
        """Cut the text.

        Args:
            tokens: Token numbers in reading order, int64, shape ``(tokens,)``.
            streams: Parallel streams in this process, which make up the batch; the rest of the text
                is left out.
            steps: Tokens of each stream in a piece; the last piece may be shorter.
            rank: Number of this process, which reads streams of its own.
            world_size: Processes that share the text.

        Raises:
            ValueError: If the text is too short for a pair of tokens in each stream.
        """
        total = streams * world_size
        length = len(tokens) // total
        if length < 2:
            raise ValueError(
                f"{len(tokens)} tokens are too few for {total} streams of at least 2; lower the "
                "batch size or give a longer text."
            )
        cut = tokens[: length * total].view(total, length)
        self.text, self.steps = cut[rank * streams : (rank + 1) * streams], steps
        self._begin = self._next = 0

    def __len__(self) -> int:
        """Return the number of pieces."""
        return -(-(self.text.shape[1] - 1) // self.steps)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield tokens and the tokens that follow them, each ``(streams, steps)``."""
        first, self._begin = self._begin, 0
        for piece in range(first, len(self)):
            self._next = (piece + 1) % len(self)  # what a checkpoint written from here on holds
            begin = piece * self.steps
            end = min(begin + self.steps, self.text.shape[1] - 1)
            yield self.text[:, begin:end], self.text[:, begin + 1 : end + 1]

    def state_dict(self) -> dict[str, int]:
        """Return the place in the text."""
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass, and only that one, begin at a place in the text."""
        self._begin = self._next = state["next"]


class TextData(LightningDataModule):
    """Training, validation and test text; a subclass reads them.

    Several processes train on streams of their own, ``batch_size`` in each; each of them reads the
    whole validation and test text, so that scores do not depend on their number.
    """

    def __init__(self, batch_size: int, steps: int, eval_batch_size: int) -> None:
        """Store the settings.

        Args:
            batch_size: Parallel streams in training, in each process.
            steps: Tokens of each stream in a batch, over which gradients flow back.
            eval_batch_size: Parallel streams in evaluation; each begins without context.
        """
        super().__init__()
        self.batch_size, self.steps, self.eval_batch_size = batch_size, steps, eval_batch_size
        self.texts: list[Tensor] = []

    def read_texts(self) -> list[Tensor]:
        """Return the token numbers of the training, validation and test text, each int64."""
        raise NotImplementedError(f"{type(self).__name__} has to say where its text comes from.")

    def setup(self, stage: str) -> None:
        """Read the three texts, once."""
        self.texts = self.texts or self.read_texts()

    def train_dataloader(self) -> TextStreams:
        """Return this process's part of the training text, in reading order."""
        rank, world = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        return TextStreams(self.texts[0], self.batch_size, self.steps, rank, world)

    def val_dataloader(self) -> TextStreams:
        """Return the validation text."""
        return TextStreams(self.texts[1], self.eval_batch_size, self.steps)

    def test_dataloader(self) -> TextStreams:
        """Return the test text."""
        return TextStreams(self.texts[2], self.eval_batch_size, self.steps)

    def predict_dataloader(self) -> TextStreams:
        """Return the test text."""
        return self.test_dataloader()


class ZippedText(TextData):
    """Three texts from one zip file, tokenised at blanks; the training text has all the words."""

    def __init__(
        self,
        archive: str,
        members: tuple[str, str, str],
        data_dir: str | None = None,
        batch_size: int = 20,
        steps: int = 35,
        eval_batch_size: int = 10,
    ) -> None:
        """Store the settings; see :class:`TextData` for the last three.

        Args:
            archive: Path of the zip file below ``data_dir``.
            members: Names of the training, validation and test text in it.
            data_dir: Folder of the data; there is no default.
            batch_size: Parallel streams in training.
            steps: Words of each stream in a batch.
            eval_batch_size: Parallel streams in evaluation.
        """
        super().__init__(batch_size, steps, eval_batch_size)
        self.archive, self.members, self.data_dir = archive, members, data_dir
        self.vocabulary: dict[str, int] = {}

    def read_texts(self) -> list[Tensor]:
        """Return the texts; words are numbered by their frequency in the training text."""
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
        return [torch.tensor([self.vocabulary[w] for w in text]) for text in words]

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
        # Not splitlines(), which also ends a line at rarer signs inside of it.
        lines = text.removesuffix("\n").split("\n")
        return [word for line in lines for word in (*line.split(), "<eos>")]

"""Text that ships with Python: its own manual, as ``help()`` shows it, read letter by letter."""

import re
from pydoc_data.topics import topics

import torch
from torch import Tensor

from aimc_lightning.zoo.text import TextData

# The 95 printable signs of ASCII, the end of a line, and one number for all others. Fixed, so that
# a checkpoint fits the text of each version of Python.
SYMBOLS = 97
_END_OF_LINE, _OTHER = 95, 96
_BLOCK = 20  # paragraphs that stay together; of ten blocks one is validated on and one tested on


class PythonManualData(TextData):
    """Language reference of Python, about 290,000 letters to train on and 40,000 for each score.

    The text differs a little between versions of Python; topics share paragraphs, of which the
    first one is kept, so that nothing stands in two of the three parts.
    """

    def __init__(self, batch_size: int = 32, steps: int = 64, eval_batch_size: int = 100) -> None:
        """Store the settings.

        Args:
            batch_size: Parallel streams in training.
            steps: Letters of each stream in a batch.
            eval_batch_size: Parallel streams in evaluation.
        """
        super().__init__(batch_size, steps, eval_batch_size)

    def read_texts(self) -> list[Tensor]:
        """Return training, validation and test text: of each ten blocks eight, one and one."""
        found: dict[str, str] = {}
        for name in sorted(topics):
            for paragraph in re.split(r"\n\s*\n", topics[name]):
                found.setdefault(" ".join(paragraph.split()), paragraph)
        found.pop("", None)
        paragraphs = list(found.values())
        parts: list[list[str]] = [[], [], []]
        for number, paragraph in enumerate(paragraphs):
            parts[max(0, number // _BLOCK % 10 - 7)].append(paragraph)
        return [encode("\n\n".join(part)) for part in parts]


def encode(text: str) -> Tensor:
    r"""Return the number of each letter, int64, shape ``(letters,)``.

    Example:
        >>> encode(" A\né").tolist()
        [0, 33, 95, 96]
    """
    return torch.tensor([_number(letter) for letter in text])


def _number(letter: str) -> int:
    if letter == "\n":
        return _END_OF_LINE
    return ord(letter) - 32 if " " <= letter <= "~" else _OTHER

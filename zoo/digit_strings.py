"""Connected digit strings, made from single digits of the Free Spoken Digit Dataset.

A string joins takes of one speaker from one part of the data, with short pauses. Its takes, pauses
and augmentation depend on seed, epoch and string alone, so a resumed epoch sees the same strings.
"""

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from aimc_lightning.zoo.batches import make_loader
from aimc_lightning.zoo.speech import Utterances, log_mel, pad_utterances, stack_frames
from aimc_lightning.zoo.speech_augmentation import change_speed, mask

try:
    import pyarrow.parquet as parquet
except ImportError as error:
    raise ImportError(
        "the spoken digits are Parquet files, which pyarrow reads; it is not installed: "
        "pip install 'aimc-lightning[zoo]'"
    ) from error

SAMPLE_RATE_HZ = 8000
MEL_BINS = 40
STACKED = 5  # frames of 10 ms that make one input of the network
LENGTHS = (3, 4, 5, 6, 7)  # digits of a string, in turn; 25 together, so 50 takes fit twice
LONGEST_PAUSE_S = 0.15
VAL_TAKES = range(5, 10)  # of each speaker and digit; takes 0-4 are the official test set
_EVALUATION_SEED = 0


@dataclass(frozen=True)
class Recording:
    """One spoken digit: waveform -1 to 1 ``(samples,)``, the digit, the speaker and the take."""

    samples: Tensor
    digit: int
    speaker: str
    take: int


class DigitStrings(Dataset):
    """Digit strings as features and symbols; symbol ``d + 1`` is digit ``d``."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        *,
        passes: int = 1,
        seed: int,
        augment: bool = False,
        repeats: float = 0.0,
    ) -> None:
        """Store the recordings.

        Args:
            recordings: Single digits.
            passes: How often each recording occurs.
            seed: Seed of strings, pauses and augmentation.
            augment: Whether to draw new strings in each epoch, change their speed and mask them.
            repeats: Share of the digits that are made the same as the one before them, by another
                take of it.

        Raises:
            ValueError: If there is no recording.
        """
        if not recordings:
            raise ValueError("the data set is empty: 'recordings' needs at least one.")
        self.recordings, self.passes = recordings, passes
        self.seed, self.augment, self.epoch = seed, augment, 0
        self.repeats = repeats
        self._planned: tuple[int, list[list[int]]] = (-1, [])

    def __len__(self) -> int:
        """Return the number of strings."""
        return len(self.strings())

    def strings(self) -> list[list[int]]:
        """Return the numbers of the recordings that make up each string of this epoch."""
        if self._planned[0] != self.epoch:
            speakers = [recording.speaker for recording in self.recordings]
            generator = self._generator()
            plan = plan_strings(speakers, self.passes, generator)
            if self.repeats > 0:
                plan = repeat_digits(plan, self.recordings, self.repeats, generator)
            self._planned = self.epoch, plan
        return self._planned[1]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return features ``(frames, 200)`` and symbols ``(digits,)`` of one string."""
        chosen = [self.recordings[number] for number in self.strings()[index]]
        generator = self._generator(index)
        samples = join([recording.samples for recording in chosen], generator)
        if self.augment:
            samples = change_speed(samples, generator)
        features = log_mel(samples, SAMPLE_RATE_HZ, MEL_BINS)
        if self.augment:
            features = mask(features, generator)
        symbols = torch.tensor([recording.digit + 1 for recording in chosen])
        return stack_frames(features, STACKED), symbols

    def __getitems__(self, indices: list[int]) -> Utterances:
        """Return a batch of strings."""
        return pad_utterances([self[index] for index in indices])

    def _generator(self, *place: int) -> torch.Generator:
        return torch.Generator().manual_seed(hash((self.seed, self.epoch, *place)) % 2**63)


class SpokenDigits(LightningDataModule):
    """Strings of 3 to 7 digits: takes 10-49 train, 5-9 validate, 0-4 (official split) test."""

    def __init__(
        self,
        data_dir: str | None = None,
        batch_size: int = 32,
        eval_batch_size: int = 120,
        test_passes: int = 2,
        seed: int = 0,
        repeats: float = 0.0,
    ) -> None:
        """Store the settings.

        Args:
            data_dir: Folder that holds ``fsdd/train.parquet`` and ``fsdd/test.parquet``.
            batch_size: Strings in a training batch.
            eval_batch_size: Strings in a batch of validation, test and prediction.
            test_passes: How often each test recording occurs, each time in another string.
            seed: Seed of training strings and augmentation; other strings do not depend on it.
            repeats: Share of the training digits that are made the same as the one before them. By
                chance it is one in ten, from which a transducer learns to say each digit only once.
        """
        super().__init__()
        self.repeats = repeats
        self.data_dir, self.seed, self.test_passes = data_dir, seed, test_passes
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.train: DigitStrings | None = None
        self.val: list[tuple[Tensor, Tensor]] = []
        self.test: list[tuple[Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:
        """Read what the stage needs, once."""
        if stage in ("fit", "validate") and self.train is None:
            found = load_recordings("train", self.data_dir)
            train = [recording for recording in found if recording.take not in VAL_TAKES]
            val = [recording for recording in found if recording.take in VAL_TAKES]
            self.train = DigitStrings(train, seed=self.seed, augment=True, repeats=self.repeats)
            self.val = _prepared(val, passes=1)
        if stage in ("test", "predict") and not self.test:
            self.test = _prepared(load_recordings("test", self.data_dir), self.test_passes)

    def train_dataloader(self) -> DataLoader:
        """Return new, augmented strings in each epoch."""
        world, rank = (
            (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        )
        return make_loader(
            self.train, self.batch_size, shuffle=True, world_size=world, rank=rank, seed=self.seed
        )

    def val_dataloader(self) -> DataLoader:
        """Return strings of the validation takes, always the same."""
        return DataLoader(self.val, self.eval_batch_size, collate_fn=pad_utterances)

    def test_dataloader(self) -> DataLoader:
        """Return strings of the test takes, always the same."""
        return DataLoader(self.test, self.eval_batch_size, collate_fn=pad_utterances)

    def predict_dataloader(self) -> DataLoader:
        """Return strings of the test takes."""
        return self.test_dataloader()


def plan_strings(
    speakers: Sequence[str], passes: int, generator: torch.Generator
) -> list[list[int]]:
    """Return strings of recordings of one speaker each, every recording once in each pass.

    Args:
        speakers: Speaker of each recording.
        passes: How often each recording occurs.
        generator: Source of the order.

    Returns:
        Numbers of the recordings of each string; a speaker's last string may be shorter.
    """
    strings = []
    for _ in range(passes):
        for speaker in sorted(set(speakers)):
            own = [number for number, name in enumerate(speakers) if name == speaker]
            shuffled = iter([own[i] for i in torch.randperm(len(own), generator=generator)])
            lengths = cycle(LENGTHS)
            while string := list(islice(shuffled, next(lengths))):
                strings.append(string)
    return strings


def repeat_digits(
    plan: Sequence[Sequence[int]],
    recordings: Sequence[Recording],
    share: float,
    generator: torch.Generator,
) -> list[list[int]]:
    """Return the strings with some digits replaced by another take of the one before them.

    Args:
        plan: Numbers of the recordings of each string.
        recordings: All recordings.
        share: Share of the digits to replace, 0 to 1.
        generator: Source of the choice.
    """
    takes: dict[tuple[str, int], list[int]] = {}
    for number, recording in enumerate(recordings):
        takes.setdefault((recording.speaker, recording.digit), []).append(number)
    repeated = []
    for string in plan:
        new = list(string[:1])
        for number in string[1:]:
            chance, choice = torch.rand(2, generator=generator).tolist()
            before = recordings[new[-1]]
            alike = takes[before.speaker, before.digit]
            new.append(alike[int(choice * len(alike))] if chance < share else number)
        repeated.append(new)
    return repeated


def join(parts: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Return the waveforms one after the other, silence of up to 150 ms around each."""
    longest = round(LONGEST_PAUSE_S * SAMPLE_RATE_HZ)
    pauses = torch.randint(0, longest + 1, (len(parts) + 1,), generator=generator).tolist()
    padded = [F.pad(part, (pause, 0)) for part, pause in zip(parts, pauses, strict=False)]
    return F.pad(torch.cat(padded), (0, pauses[-1]))


def load_recordings(split: str, data_dir: str | None) -> list[Recording]:
    """Return the single digits of one split.

    Args:
        split: ``train`` or ``test``.
        data_dir: Folder as of :class:`SpokenDigits`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read.
    """
    path = Path(data_dir or ".", "fsdd", f"{split}.parquet")
    if data_dir is None or not path.is_file():
        raise FileNotFoundError(
            f"no fsdd/{split}.parquet in the data folder {str(data_dir)!r}: give the folder that "
            "holds the Free Spoken Digit Dataset as Parquet files with --data DIR."
        )
    try:
        rows = parquet.read_table(path, columns=["audio", "label", "speaker", "take"]).to_pylist()
        return [
            Recording(_waveform(row["audio"]["bytes"]), row["label"], row["speaker"], row["take"])
            for row in rows
        ]
    except Exception as error:  # pyarrow, wave and numpy each raise their own
        raise ValueError(
            f"cannot read spoken digits from {str(path)!r} ({type(error).__name__}: {error}): the "
            "file is truncated, or holds something else than audio, label, speaker and take."
        ) from error


def _waveform(content: bytes) -> Tensor:
    with wave.open(io.BytesIO(content)) as file:
        layout = (file.getframerate(), file.getsampwidth(), file.getnchannels())
        if layout != (SAMPLE_RATE_HZ, 2, 1):
            raise ValueError(f"rate, bytes and channels are {layout}, they must be (8000, 2, 1).")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return torch.from_numpy(samples.astype(np.float32) / 32768.0)


def _prepared(recordings: Sequence[Recording], passes: int) -> list[tuple[Tensor, Tensor]]:
    """Return the strings of evaluation, computed once."""
    strings = DigitStrings(recordings, passes=passes, seed=_EVALUATION_SEED)
    return [strings[index] for index in range(len(strings))]

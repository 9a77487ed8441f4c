"""One task of GLUE through the ``datasets`` library; texts of similar length share a batch."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from aimc_lightning.zoo.batches import EpochSampler
from aimc_lightning.zoo.glue import load_pretrained
from aimc_lightning.zoo.glue_tasks import TASKS, check_task

try:
    import datasets
    from transformers import AutoTokenizer
except ImportError as error:
    raise ImportError(
        "the GLUE entries need datasets and transformers: pip install 'aimc-lightning[zoo]'"
    ) from error

HUB_NAME = "nyu-mll/glue"
_SPLIT_SEED = 0
_SORTED_TOGETHER = 16  # batches
# Of each sample: the token numbers, the number of the text of each token, the label.
Samples = list[tuple[list[int], list[int], float]]


class TextBatches(Dataset):
    """Whole batches; which samples they hold depends on seed and epoch alone."""

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        pad: int,
        label_type: torch.dtype,
        *,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        """Store the samples.

        Args:
            samples: Tokens and labels.
            batch_size: Samples in a batch.
            pad: Token number of padding.
            label_type: int64 for classes, float32 for similarities.
            shuffle: Whether to draw an order in each epoch and sort by length only the samples of
                16 batches at a time; otherwise all samples are sorted by length.
            seed: Seed of the order.

        Raises:
            ValueError: If there is no sample, or ``batch_size`` is below 1.
        """
        if not samples or batch_size < 1:
            raise ValueError(
                f"{len(samples)} samples in batches of {batch_size}: both must be at least 1."
            )
        self.samples, self.batch_size, self.pad = samples, batch_size, pad
        self.label_type, self.shuffle, self.seed, self.epoch = label_type, shuffle, seed, 0
        self._ordered: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        """Return the number of batches; the last may be smaller."""
        return -(-len(self.samples) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return the arguments of the network, each ``(batch, tokens)``, and labels ``(batch,)``.

        Raises:
            IndexError: If there is no such batch.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no batch {index}; it must be from 0 to {len(self) - 1}.")
        numbers = self.order()[index * self.batch_size : (index + 1) * self.batch_size]
        chosen = [self.samples[number] for number in numbers]
        tokens = [torch.tensor(sample[0]) for sample in chosen]
        texts = {
            "input_ids": pad_sequence(tokens, batch_first=True, padding_value=self.pad),
            "attention_mask": pad_sequence([torch.ones_like(t) for t in tokens], batch_first=True),
            "token_type_ids": pad_sequence([torch.tensor(s[1]) for s in chosen], batch_first=True),
        }
        return texts, torch.tensor([sample[2] for sample in chosen], dtype=self.label_type)

    def order(self) -> list[int]:
        """Return the numbers of the samples in the order of this epoch."""
        if self._ordered[0] == self.epoch:
            return self._ordered[1]
        numbers, together = list(range(len(self.samples))), len(self.samples)
        if self.shuffle:
            seed = hash((self.seed, self.epoch)) % 2**63
            generator = torch.Generator().manual_seed(seed)
            numbers = torch.randperm(len(numbers), generator=generator).tolist()
            together = _SORTED_TOGETHER * self.batch_size
        parts = [numbers[i : i + together] for i in range(0, len(numbers), together)]
        parts = [sorted(part, key=lambda number: len(self.samples[number][0])) for part in parts]
        self._ordered = self.epoch, [number for part in parts for number in part]
        return self._ordered[1]


class GlueData(LightningDataModule):
    """A task of GLUE, validated on a part of the training samples and tested on GLUE's validation.

    Labels of GLUE's own test parts are not public.
    """

    def __init__(
        self,
        tokenizer: str,
        task: str = "mrpc",
        data_dir: str | None = None,
        batch_size: int = 32,
        max_tokens: int = 128,
        val_size: int = 256,
        seed: int = 0,
    ) -> None:
        """Store the settings.

        Args:
            tokenizer: Hub id or folder of the tokenizer.
            task: Name of a task of GLUE, the same as of the network.
            data_dir: Folder with ``glue/{task}_{split}.parquet``; None takes the hub.
            batch_size: Samples in a batch.
            max_tokens: Longer texts or pairs are cut.
            val_size: Samples held out of the training part, at most a tenth of it.
            seed: Seed of the order; the held-out samples do not depend on it.

        Raises:
            ValueError: If there is no such task.
        """
        super().__init__()
        check_task(task)
        self.tokenizer, self.task, self.data_dir = tokenizer, task, data_dir
        self.batch_size, self.max_tokens = batch_size, max_tokens
        self.val_size, self.seed = val_size, seed
        self.samples: dict[str, Samples] = {}
        self.pad = 0

    def setup(self, stage: str) -> None:
        """Read and tokenise what the stage needs, once."""
        part = "train" if stage in ("fit", "validate") else "test"
        if part in self.samples:
            return
        # The choice matters only to decoding; transformers 4.44 warns if it is left open.
        tokenizer = load_pretrained(
            AutoTokenizer, self.tokenizer, clean_up_tokenization_spaces=False
        )
        self.pad = tokenizer.pad_token_id
        splits = ("train",) if part == "train" else TASKS[self.task].test_splits
        samples = [sample for split in splits for sample in self._read(tokenizer, split)]
        if part == "test":
            self.samples["test"] = samples
            return
        generator = torch.Generator().manual_seed(_SPLIT_SEED)
        order = torch.randperm(len(samples), generator=generator).tolist()
        held = max(1, min(self.val_size, len(samples) // 10))
        self.samples["val"] = [samples[i] for i in order[:held]]
        self.samples["train"] = [samples[i] for i in order[held:]]

    def train_dataloader(self) -> DataLoader:
        """Return the training samples, in another order in each epoch."""
        trainer = self.trainer
        world, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        data = self._batches("train", shuffle=True)
        sampler = EpochSampler(data, world, rank, shuffle=True, seed=self.seed)
        return DataLoader(data, batch_size=None, sampler=sampler)

    def val_dataloader(self) -> DataLoader:
        """Return the held-out training samples."""
        return DataLoader(self._batches("val"), batch_size=None)

    def test_dataloader(self) -> DataLoader:
        """Return GLUE's validation samples."""
        return DataLoader(self._batches("test"), batch_size=None)

    def predict_dataloader(self) -> DataLoader:
        """Return GLUE's validation samples."""
        return self.test_dataloader()

    def _batches(self, part: str, shuffle: bool = False) -> TextBatches:
        kind = torch.float32 if TASKS[self.task].outputs == 1 else torch.int64
        return TextBatches(
            self.samples[part], self.batch_size, self.pad, kind, shuffle=shuffle, seed=self.seed
        )

    def _read(self, tokenizer: Any, split: str) -> Samples:  # noqa: ANN401 - of transformers
        rows = _open(self.task, split, self.data_dir)
        texts = [list(rows[column]) for column in TASKS[self.task].columns]
        found = tokenizer(*texts, truncation=True, max_length=self.max_tokens)
        tokens = found["input_ids"]
        numbers = found.get("token_type_ids") or [[0] * len(own) for own in tokens]
        return list(zip(tokens, numbers, list(rows["label"]), strict=True))


def _open(task: str, split: str, data_dir: str | None) -> "datasets.Dataset":
    """Return the rows of one part of a task."""
    if data_dir is None:
        return datasets.load_dataset(HUB_NAME, task, split=split)
    path = Path(data_dir, "glue", f"{task}_{split}.parquet")
    if not path.is_file():
        raise FileNotFoundError(
            f"no glue/{path.name} in the data folder {data_dir!r}: give the folder that holds it "
            "with --data DIR, or leave --data out to take the hub."
        )
    return datasets.Dataset.from_parquet(str(path), keep_in_memory=True)

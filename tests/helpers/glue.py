"""Made-up GLUE tasks as Parquet files, and a tokenizer for them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aimc_lightning.zoo.glue_tasks import TASKS


def write_glue(
    folder: Path, tasks: list[str], rows: int = 40, test_label: int | None = None
) -> Path:
    """Write all parts of tasks whose first word is the label, or one label in the test parts."""
    (folder / "glue").mkdir(parents=True, exist_ok=True)
    for task in tasks:
        kind = TASKS[task]
        for split in ("train", *kind.test_splits):
            labels = [row % max(kind.outputs, 2) for row in range(rows)]
            if split != "train" and test_label is not None:
                labels = [test_label] * rows
            texts = [f"w{label} w{5 + row % 7} w9" for row, label in enumerate(labels)]
            columns = {column: texts for column in kind.columns}
            columns["label"] = [float(x) for x in labels] if kind.outputs == 1 else labels
            pq.write_table(pa.table(columns), folder / "glue" / f"{task}_{split}.parquet")
    return folder


def write_tokenizer(folder: Path) -> Path:
    """Write a tokenizer of whole words, which knows twenty of them, and return its folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(20))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "sep_token": "[SEP]", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder

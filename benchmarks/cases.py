"""The networks that are timed, each with a training step and an evaluation step."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from aimc_lightning import TileConfig, convert_to_analog, program_, set_time_
from aimc_lightning.zoo.cifar_resnet import CifarResNet


@dataclass
class Case:
    """One network with its batch.

    Attributes:
        model: The network, plain torch.
        inputs: What ``loss`` takes.
        loss: Called as ``loss(model, inputs)``; returns a scalar.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    loss: Callable[[nn.Module, tuple[Tensor, ...]], Tensor]


class LanguageModel(nn.Module):
    """Embedding, LSTM of two layers, output layer over the vocabulary."""

    def __init__(self, words: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.lstm = nn.LSTM(hidden, hidden, 2)
        self.output = nn.Linear(hidden, words)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits ``(steps, batch, words)`` of tokens ``(steps, batch)``."""
        return self.output(self.lstm(self.embedding(tokens))[0])


def linear() -> Case:
    """Return one layer 1024 x 1024 with a batch of 512."""
    x, y = torch.randn(512, 1024), torch.randn(512, 1024)
    return Case(
        nn.Sequential(nn.Linear(1024, 1024)), (x, y), lambda m, i: F.mse_loss(m(i[0]), i[1])
    )


def resnet32() -> Case:
    """Return ResNet-32 with 128 images of 32 x 32."""
    x, y = torch.randn(128, 3, 32, 32), torch.randint(0, 10, (128,))
    return Case(CifarResNet(5), (x, y), lambda m, i: F.cross_entropy(m(i[0]), i[1]))


def bert() -> Case:
    """Return an encoder of 6 layers, 384 wide, with 32 sequences of 128 tokens."""
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    tokens = torch.randint(0, config.vocab_size, (32, 128))
    return Case(BertModel(config), (tokens,), lambda m, i: m(i[0]).pooler_output.square().mean())


def lstm() -> Case:
    """Return an LSTM of 2 x 650, 10,000 words, batch 20, 35 steps."""
    tokens, targets = torch.randint(0, 10_000, (35, 20)), torch.randint(0, 10_000, (700,))
    return Case(
        LanguageModel(10_000, 650),
        (tokens, targets),
        lambda m, i: F.cross_entropy(m(i[0]).flatten(0, 1), i[1]),
    )


CASES: dict[str, Callable[[], Case]] = {
    "linear": linear,
    "resnet32": resnet32,
    "bert": bert,
    "lstm": lstm,
}
TITLES = {
    "linear": "Linear 1024x1024, batch 512",
    "resnet32": "ResNet-32, 32x32, batch 128",
    "bert": "BERT 6 x 384, 128 tokens, batch 32",
    "lstm": "LSTM 2 x 650, batch 20, 35 steps, 10,000 words",
}
#: Training and evaluation goals as ratios to plain torch, by variant; see benchmarks/results.md.
GOALS = {
    ("linear", "reduced"): (1.4, 1.5), ("linear", "full"): (1.9, 3.0),
    ("resnet32", "reduced"): (1.5, 1.8), ("resnet32", "full"): (2.0, 3.5),
    ("bert", "reduced"): (1.3, 1.4), ("bert", "full"): (1.8, 2.8),
    ("lstm", "reduced"): (2.2, 2.0), ("lstm", "full"): (3.0, 4.5),
}  # fmt: skip


def variants() -> dict[str, TileConfig]:
    """Return the tile configs: the whole standard model, and without read noise and IR drop."""
    full = TileConfig()
    return {
        "reduced": full.with_values({"noise.read_std": 0.0, "ir_drop.scale": 0.0}),
        "full": full,
    }


def analog(case: Case, config: TileConfig) -> nn.Module:
    """Convert the network of a case, and let its input ranges settle as after some training."""
    convert_to_analog(case.model, config.with_values({"input_range.init_batches": 2}))
    case.model.train()
    for _ in range(3):
        case.loss(case.model, case.inputs)
    return case.model


def programmed(model: nn.Module) -> nn.Module:
    """Programme a chip, one day old, for evaluation."""
    model.eval()
    program_(model, seed=0)
    set_time_(model, 86_400.0, seed=0)
    return model


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of the timed steps."""
    return torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)


def training_step(
    case: Case, model: nn.Module, make: Callable[[nn.Module], torch.optim.Optimizer] = sgd
) -> Callable[[], None]:
    """Return one training step of a model on the batch of a case."""
    optimizer = make(model)

    def step() -> None:
        optimizer.zero_grad()
        case.loss(model, case.inputs).backward()
        optimizer.step()

    return step


def evaluation_step(case: Case, model: nn.Module) -> Callable[[], None]:
    """Return one pass of a model over the batch of a case, without gradients."""

    def forward() -> None:
        with torch.inference_mode():
            case.loss(model, case.inputs)

    return forward

"""The networks that are timed, each with a training step and an evaluation step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from aimc_lightning import TileConfig, convert_to_analog, program_, set_time_
from aimc_lightning.nn.base import analog_tiles
from aimc_lightning.zoo.cifar_resnet import CifarResNet


@dataclass
class Case:
    """One network with its batch.

    Attributes:
        model: The network, plain torch.
        inputs: What ``loss`` takes.
        loss: Called as ``loss(model, inputs)``; returns a scalar.
        mixed: Whether it runs in bfloat16 autocast, as ``bf16-mixed`` of Lightning.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    loss: Callable[[nn.Module, tuple[Tensor, ...]], Tensor]
    mixed: bool = False

    def loss_of(self, model: nn.Module) -> Tensor:
        """Return the loss of a model on the batch."""
        with torch.autocast(self.inputs[0].device.type, torch.bfloat16, enabled=self.mixed):
            return self.loss(model, self.inputs)


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


def bert_base() -> Case:
    """Return BERT-base with 128 sequences of 128 tokens, in bfloat16 autocast; for a GPU."""
    config = BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    tokens = torch.randint(0, config.vocab_size, (128, 128))
    return Case(
        BertModel(config), (tokens,), lambda m, i: m(i[0]).pooler_output.square().mean(), mixed=True
    )


def resnet50() -> Case:
    """Return ResNet-50 with 128 images of 224 x 224, channels last, in autocast; for a GPU."""
    from torchvision.models import resnet50 as network

    last = torch.channels_last
    x, y = torch.randn(128, 3, 224, 224).to(memory_format=last), torch.randint(0, 1000, (128,))
    model = network().to(memory_format=last)
    return Case(model, (x, y), lambda m, i: F.cross_entropy(m(i[0]), i[1]), mixed=True)


CASES: dict[str, Callable[[], Case]] = {
    "linear": linear,
    "resnet32": resnet32,
    "bert": bert,
    "lstm": lstm,
    "bert_base": bert_base,
    "resnet50": resnet50,
}
#: Those that a CPU takes minutes for.
FOR_GPU = ("bert_base", "resnet50")
TITLES = {
    "linear": "Linear 1024x1024, batch 512",
    "resnet32": "ResNet-32, 32x32, batch 128",
    "bert": "BERT 6 x 384, 128 tokens, batch 32",
    "lstm": "LSTM 2 x 650, batch 20, 35 steps, 10,000 words",
    "bert_base": "BERT-base, 128 tokens, batch 128, bf16-mixed",
    "resnet50": "ResNet-50, 224x224, batch 128, bf16-mixed",
}
#: Training and evaluation goals as ratios to plain torch, by variant; see benchmarks/results.md.
GOALS = {
    ("linear", "reduced"): (1.4, 1.5), ("linear", "full"): (1.9, 3.0),
    ("resnet32", "reduced"): (1.5, 1.8), ("resnet32", "full"): (2.0, 3.5),
    ("bert", "reduced"): (1.3, 1.4), ("bert", "full"): (1.8, 2.8),
    ("lstm", "reduced"): (2.2, 2.0), ("lstm", "full"): (3.0, 4.5),
    ("bert_base", "full"): (1.4, 2.0), ("resnet50", "full"): (1.4, 2.0),
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
        case.loss_of(case.model)
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


class _Loss(nn.Module):
    """A model and the loss of its case as one module, which a CUDA graph can replay."""

    def __init__(self, case: Case, model: nn.Module) -> None:
        super().__init__()
        self.case, self.model = case, model

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the loss on the inputs."""
        return replace(self.case, inputs=inputs).loss_of(self.model)


def training_step(
    case: Case, model: nn.Module, make: Callable[[nn.Module], torch.optim.Optimizer] = sgd
) -> Callable[[], None]:
    """Return one training step of a model on the batch of a case; on a GPU from CUDA graphs."""
    optimizer = make(model)
    loss: nn.Module = _Loss(case, model)
    if case.inputs[0].is_cuda:
        loss = torch.cuda.make_graphed_callables(loss, case.inputs, allow_unused_input=True)

    def step() -> None:
        optimizer.zero_grad()
        loss(*case.inputs).backward()
        optimizer.step()

    return step


def evaluation_step(case: Case, model: nn.Module) -> Callable[[], None]:
    """Return one pass of a model over the batch of a case, without gradients; likewise."""

    def forward() -> None:
        with torch.inference_mode():
            case.loss_of(model)

    return _graphed(model, forward) if case.inputs[0].is_cuda else forward


def _graphed(model: nn.Module, forward: Callable[[], None]) -> Callable[[], None]:
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward()
    torch.cuda.current_stream().wait_stream(stream)
    for tile in analog_tiles(model).values():
        if tile.chip is not None and tile.chip.generator is not None:
            graph.register_generator_state(tile.chip.generator)
    with torch.cuda.graph(graph):
        forward()
    return graph.replay

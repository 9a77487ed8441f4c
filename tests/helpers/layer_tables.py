"""The two tables of ``docs/layers.md``, made by doing what they say.

``python -m tests.helpers.layer_tables`` writes them; tests compare them with what is measured.
"""

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aimc_lightning.conversion import ConversionReport, convert_to_analog
from aimc_lightning.nn.base import analog_tiles
from tests.helpers.conformance import chip, flat
from tests.helpers.networks import NAMES, build_network

PAGE = Path(__file__).resolve().parents[2] / "docs" / "layers.md"
#: A layer as one writes it, and the shape of its input.
LAYERS: dict[str, tuple[int, ...]] = {
    "nn.Linear(700, 600)": (4, 700),
    "nn.Conv1d(256, 64, 3)": (2, 256, 8),
    "nn.Conv2d(64, 64, 3)": (2, 64, 6, 6),
    "nn.Conv2d(64, 64, 3, groups=4)": (2, 64, 6, 6),
    "nn.Conv2d(64, 64, 3, groups=64)": (2, 64, 6, 6),
    "nn.Conv2d(64, 64, 3, padding='same', padding_mode='circular', dilation=2)": (2, 64, 6, 6),
    "nn.Conv3d(32, 16, 3, stride=2)": (2, 32, 5, 5, 5),
    "nn.LSTM(300, 256)": (3, 2, 300),
    "nn.LSTM(300, 256, num_layers=2, bidirectional=True, proj_size=64)": (3, 2, 300),
    "nn.GRU(300, 256, batch_first=True)": (2, 3, 300),
    "nn.RNN(300, 256)": (3, 2, 300),
    "nn.LSTMCell(300, 256)": (2, 300),
    "nn.GRUCell(300, 256)": (2, 300),
    "nn.RNNCell(300, 256)": (2, 300),
    "nn.MultiheadAttention(256, 4)": (3, 2, 256),
    "Conv1D(600, 700)": (4, 700),
    "nn.ConvTranspose1d(8, 8, 3)": (2, 8, 6),
    "nn.ConvTranspose2d(8, 8, 3)": (2, 8, 6, 6),
    "nn.ConvTranspose3d(8, 8, 3)": (2, 8, 4, 4, 4),
    "nn.Bilinear(8, 8, 4)": (2, 8),
    "nn.Embedding(10, 8)": (2,),
    "nn.EmbeddingBag(10, 8)": (2, 3),
    "nn.BatchNorm2d(8)": (2, 8, 3, 3),
    "nn.LayerNorm(8)": (2, 8),
    "nn.GroupNorm(2, 8)": (2, 8),
    "nn.RMSNorm(8)": (2, 8),
    "nn.PReLU()": (2, 8),
}


def layer_row(code: str) -> str:
    """Convert, train and programme one layer of the standard model; return its row."""
    from_transformers = {}
    if code.startswith("Conv1D"):
        from transformers.pytorch_utils import Conv1D

        from_transformers["Conv1D"] = Conv1D
    torch.manual_seed(0)
    layer = eval(code, {"nn": nn, **from_transformers})
    # The second layer converts always: a model in which nothing does is refused.
    model = nn.Sequential(layer, nn.Linear(2, 2))
    report = convert_to_analog(model)
    kept = {row.name: row.reason for row in report.kept}
    if "0" in kept:
        return f"| `{code}` | stays digital: {kept['0']} | - | - | - |"
    tiles = sum(row.tiles for row in report.converted if row.name.split(".")[0] == "0")
    trained = "yes" if _trains(model[0], LAYERS[code]) else "NO"
    programmed = "yes" if _programmes(model, LAYERS[code]) else "NO"
    return f"| `{code}` | yes | {trained} | {programmed} | {tiles} |"


def _call(layer: Any, x: Tensor) -> Tensor:
    if isinstance(layer, nn.MultiheadAttention):
        return flat(layer(x, x, x))
    if isinstance(layer, nn.RNNCellBase):
        return flat(layer(x, layer(x)))  # two steps: the state of the first is zero
    return flat(layer(x))


def _trains(layer: nn.Module, shape: tuple[int, ...]) -> bool:
    """Return whether one step changes every matrix and every learned scale, and all is finite."""
    before = {name: value.detach().clone() for name, value in layer.named_parameters()}
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    _call(layer.train(), torch.randn(shape)).square().mean().backward()
    optimizer.step()
    return all(
        bool(torch.isfinite(value).all())
        and (value.dim() < 2 or not torch.equal(value, before[name]))
        for name, value in layer.named_parameters()
    ) and all(tile.out_scale.grad is not None for tile in analog_tiles(layer).values())


@torch.no_grad()
def _programmes(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Return whether two chips, an hour old, give finite outputs that differ."""
    x, layer = torch.randn(shape), model[0]
    one, other = (_call(chip(layer, seed), x) for seed in (1, 2))
    return bool(torch.isfinite(one).all() and torch.isfinite(other).all() and (one != other).any())


def network_row(name: str, report: ConversionReport) -> str:
    """Return the row of a network from the report of its conversion to the standard model."""
    kinds = Counter(row.type for row in report.kept)
    kept = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"| {name} | {len(report.converted)} | {report.tiles} | {len(report.kept)}: {kept} |"


def layer_table() -> str:
    """Return the table of layers."""
    head = "| layer | converts | trains | programmes | tiles |\n| --- | --- | --- | --- | ---: |"
    return "\n".join([head, *(layer_row(code) for code in LAYERS)])


def network_table(names: Sequence[str] = NAMES) -> Iterator[str]:
    """Yield the rows of networks; only converts them, without a pass through them."""
    for name in names:
        model, _ = build_network(name)
        yield network_row(name, convert_to_analog(model))
        del model
        gc.collect()


def section(page: str, name: str) -> str:
    """Return what stands between the marks of a generated table."""
    return page.split(f"<!-- begin {name} -->\n")[1].split(f"\n<!-- end {name} -->")[0]


def main() -> None:
    """Write both tables into the page, row by row: networks take a while."""
    _write("layers", layer_table())
    rows = ["| network | layers on tiles | tiles | layers with weights that stay digital |"]
    rows.append("| --- | ---: | ---: | --- |")
    for row in network_table():
        rows.append(row)
        _write("networks", "\n".join(rows))


def _write(name: str, table: str) -> None:
    begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
    before, rest = PAGE.read_text().split(begin)
    PAGE.write_text(before + begin + table + end + rest.split(end)[1])


if __name__ == "__main__":
    main()

"""A small analog network with a tied weight, and the files of its checkpoint."""

import torch
from torch import nn

from aimc_lightning import convert_to_analog
from aimc_lightning.hub.architectures import register_architecture


class Tied(nn.Module):
    """An embedding, two linear layers of which one is tied to it, and a norm."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, width)
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 6, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.norm(self.hidden(self.embed(x))))


register_architecture("tied", Tied)


def make_module(seed=0, config="standard_pcm"):
    """Return a converted network whose analog state is not the initial one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = Tied()
        convert_to_analog(module, config)
        with torch.no_grad():
            for name, value in module.named_parameters():
                if ".analog." in name:
                    value.uniform_(0.5, 2.0)
    return module.eval()


def contents(folder):
    """Return the files below a folder, links followed."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

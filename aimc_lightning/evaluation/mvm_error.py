"""Relative error of the product of one tile, without any network."""

import torch
from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.forward_config import InputRangeConfig
from aimc_lightning.nn.base import program_, set_time_
from aimc_lightning.nn.linear import AnalogLinear


@torch.no_grad()
def mvm_error(
    config: TileConfig,
    t_inference_s: float | None,
    seed: int = 0,
    in_features: int = 512,
    out_features: int = 128,
) -> float:
    """Return mean deviation over mean length of the outputs of one tile, as a fraction.

    Weights and inputs are Gaussian; the input range is three standard deviations.

    Args:
        config: Settings of the tile; those of its input range are replaced.
        t_inference_s: Seconds since the end of programming; ``None`` programmes no chip.
        seed: Chooses weights, inputs and chip.
        in_features: Inputs of the tile.
        out_features: Outputs of the tile.

    Example:
        >>> 0.13 < mvm_error(TileConfig(), 3600.0) < 0.145
        True

    Source:
        Relative L2 error of Rasch et al., Nature Communications 14, 5282 (2023). IBM/aihwkit 1.2.0
        gives 4.1 % without programming and 12.3, 14.0, 15.7 and 19.6 % after 1 s, 1 h, 1 day and
        1 year; it remembers only the difference of each pair, ``chip.chain="collapsed"`` here.
        The default chain ages both devices and comes out 0.1 to 0.2 points lower.
    """
    # New layers, and tiles without chip, draw from torch's own generator; it is put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        digital = nn.Linear(in_features, out_features, bias=False)
        nn.init.normal_(digital.weight)
        x = torch.randn(64, in_features)
        ranges = InputRangeConfig(mode="fixed", initial=3.0)
        fixed = config.with_values({"input_range": ranges})
        tile = nn.Sequential(AnalogLinear.from_digital(digital, fixed)).eval()
        if t_inference_s is not None:
            program_(tile, seed)
            set_time_(tile, t_inference_s, seed)
        ideal = digital(x)
        return ((tile(x) - ideal).norm(dim=1).mean() / ideal.norm(dim=1).mean()).item()

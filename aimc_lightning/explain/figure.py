"""Picture of a tile's transfer characteristics: converters, chain, and conductance over time."""

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aimc_lightning.config import TileConfig
from aimc_lightning.functional.crossbar import crossbar_codes, crossbar_weights, dac_codes
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.tiles.periphery import build_periphery

_TIMES_S = (0.0, 1.0, 3600.0, 86400.0, 31536000.0)


def transfer_figure(config: TileConfig, title: str = "") -> Figure:
    """Draw what the converters, the whole chain and the devices do to a signal.

    Three panels: DAC output over input; ADC output of one column of random weights over its ideal
    product, for 1,000 random input vectors; conductance over time for three targets, with spread.

    Args:
        config: Settings of the tile.
        title: Line above the figure.

    Returns:
        A matplotlib figure that belongs to no window.

    Example:
        >>> len(transfer_figure(TileConfig()).axes)
        3
    """
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    left, middle, right = figure.subplots(1, 3)
    generator = torch.Generator().manual_seed(0)
    periphery = build_periphery(config)

    x = torch.linspace(-1.3, 1.3, 521)
    codes, step = dac_codes(x.clone(), periphery, generator)
    left.plot(x, codes * step, color="#0072B2")
    left.plot(x, x, color="gray", linestyle=":", label="ideal")
    left.set(xlabel="input / input range", ylabel="DAC output", title="DAC")
    left.legend(fontsize="small")

    inputs, bound = config.mapping.max_inputs or 512, config.adc.bound or 10.0
    matrix = torch.empty(1, inputs).uniform_(-1, 1, generator=generator)
    vectors = torch.empty(1000, inputs).uniform_(-1, 1, generator=generator)
    ideal = vectors @ matrix.t()
    weights = crossbar_weights(matrix, periphery)
    y = crossbar_codes(vectors, weights, periphery, LinearProduct(), generator=generator)
    middle.plot(ideal, y * periphery.adc_step, ".", color="#0072B2", markersize=2)
    middle.axline((0, 0), slope=1, color="gray", linestyle=":", label="ideal")
    middle.set(
        xlabel=f"ideal product, {inputs} random inputs", ylabel="ADC output", title="whole chain",
        ylim=(-1.4 * bound, 1.4 * bound), xlim=(-1.6 * bound, 1.6 * bound),
    )  # fmt: skip
    middle.legend(fontsize="small")
    _conductances(right, config, generator)
    return figure


def _conductances(axes: Axes, config: TileConfig, generator: torch.Generator) -> None:
    device = config.chip.device
    colors = ("#0072B2", "#009E73", "#D55E00")
    for share, color in zip((1.0, 0.5, 0.1), colors, strict=True):
        target = torch.full((2000,), share * device.g_max_us)
        programmed = device.program(target, generator=generator)
        nu = device.draw_drift(target, generator=generator)
        times, means, spreads = [], [], []
        for time_s in _TIMES_S:
            g = programmed
            if time_s > 0:
                try:
                    device.check_time(time_s)
                except ValueError:
                    continue  # the device has no data for this time
                g = device.read(programmed, nu, target, time_s, generator=generator)
            times.append(max(time_s, 0.1))
            means.append(float(g.mean()))
            spreads.append(float(g.std()))
        axes.errorbar(
            times, means, yerr=spreads, color=color, marker="o", capsize=3,
            label=f"target {share * device.g_max_us:g} uS",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks([0.1, 1, 3600, 86400, 31536000], ["0", "1 s", "1 h", "1 d", "1 y"])
    axes.set(xlabel="time after programming", ylabel="conductance in uS", title=device.name)
    axes.legend(fontsize="small")

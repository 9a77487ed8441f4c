"""Picture of the tiles of a network: one square for each crossbar, the used part filled."""

from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aimc_lightning.evaluation.mapping.layer import LayerMapping

_USED, _FREE = "#0072B2", "#DDDDDD"  # blue of the palette of Okabe and Ito
_BESIDE = 16  # squares in a line; a layer with more tiles goes on in the next line


def tile_map_figure(layers: Sequence[LayerMapping]) -> Figure:
    """Draw each tile as a square; the filled part is what the layer uses of rows and columns.

    Args:
        layers: Layers of a mapping report; digital ones are left out.

    Returns:
        A matplotlib figure that belongs to no window.

    Example:
        >>> layer = LayerMapping("fc", "Linear", (400, 400), (10,), (512, 512))
        >>> len(tile_map_figure([layer]).axes[0].patches)
        4
    """
    mapped = [layer for layer in layers if layer.tiles]
    heights = [-(-layer.tiles // _BESIDE) for layer in mapped]
    lines = sum(heights)
    figure = Figure(figsize=(4.6, 0.8 + 0.26 * max(lines, 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    y = 0.0
    ticks = []
    for layer, height in zip(mapped, heights, strict=True):
        ticks.append(y + height / 2)
        for index, (rows, columns) in enumerate(layer.crossbars):
            corner = (index % _BESIDE, y + index // _BESIDE)
            tile = (layer.tile[0] or rows, layer.tile[1] or columns)
            axes.add_patch(_square(corner, 1.0, 1.0, _FREE))
            axes.add_patch(_square(corner, columns / tile[1], rows / tile[0], _USED))
        y += height
    share = [f"{layer.name} ({100 * (layer.utilisation or 0):.0f} %)" for layer in mapped]
    axes.set_yticks(ticks, share, fontsize="small")
    axes.tick_params(left=False)
    beside = min(_BESIDE, max((layer.tiles for layer in mapped), default=1))
    axes.set(xlim=(0, max(beside, 4)), ylim=(max(lines, 1), 0), xticks=[], aspect="equal")
    axes.set_xlabel("blue: used rows (down) and columns (across)", fontsize="small")
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def _square(corner: tuple[float, float], width: float, height: float, color: str) -> Rectangle:
    """Return a part of a tile, with a gap to the neighbours."""
    size = 0.84
    return Rectangle(
        (corner[0] + 0.08, corner[1] + 0.08), size * width, size * height, facecolor=color
    )

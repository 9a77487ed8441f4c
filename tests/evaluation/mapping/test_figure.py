import pytest

from aimc_lightning.evaluation.mapping.figure import tile_map_figure
from aimc_lightning.evaluation.mapping.layer import LayerMapping


def test_picture_fills_the_used_part_of_each_tile():
    layers = [
        LayerMapping("conv", "Conv2d", (27, 27), (8,), (512, 64)),
        LayerMapping("bn", "BatchNorm2d"),
    ]
    axes = tile_map_figure(layers).axes[0]
    free, used = axes.patches[:2]
    assert len(axes.patches) == 2 * 2
    assert used.get_height() / free.get_height() == pytest.approx(27 / 512)
    assert used.get_width() / free.get_width() == pytest.approx(8 / 64)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv (1 %)"]


def test_many_tiles_go_on_in_the_next_line():
    layer = LayerMapping("fc", "Linear", (8,) * 20, (8,), (8, 8))
    figure = tile_map_figure([layer])
    assert {round(patch.get_y() - 0.08) for patch in figure.axes[0].patches} == {0, 1}

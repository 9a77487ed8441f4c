"""The picture shows the converters and devices of the config that it is given."""

import numpy as np
import pytest

from aimc_lightning.config import TileConfig
from aimc_lightning.explain.figure import transfer_figure
from aimc_lightning.presets import get_preset, list_presets


def test_dac_panel_shows_as_many_levels_as_the_converter_has():
    figure = transfer_figure(TileConfig().with_values({"dac.bits": 3}))
    drawn = figure.axes[0].lines[0].get_ydata()
    assert len(np.unique(np.round(drawn, 6))) == 2**3 - 1


def test_chain_panel_never_leaves_the_output_bound():
    figure = transfer_figure(TileConfig().with_values({"adc.bound": 4.0}))
    assert np.abs(figure.axes[1].lines[0].get_ydata()).max() == pytest.approx(4.0)


@pytest.mark.parametrize("preset", list_presets())
def test_every_preset_can_be_drawn(preset, tmp_path):
    transfer_figure(get_preset(preset), preset).savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000

import numpy as np
import pytest
import torch
from torch import nn

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.layers.weights import layer_weights
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow
from aimc_lightning.recipes.html_report.figures import (
    comparison_figure,
    conductance_figure,
)
from aimc_lightning.recipes.html_report.svg import inline_svg


def test_comparison_draws_normalised_accuracy_with_spread():
    rows = [DriftRow("hwa", chip, 1.0, "acc", 0.5 + chip / 10, 0, "") for chip in (0, 1)]
    figure = comparison_figure({"a": DriftResults(rows, "acc", digital=0.9, chance=0.1)})
    line, _, (bar,) = figure.axes[0].containers[0]
    assert line.get_ydata() == pytest.approx([100 * 0.45 / 0.8])
    low, high = bar.get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 100 * np.std([0.5, 0.6], ddof=1) / 0.8)


def test_weights_are_counted_as_they_are_normalised():
    model = nn.Sequential(nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0, 1.0, 0.0, -2.0], [8.0, 0.0, 0.0, 0.0]]))
    convert_to_analog(model)
    (layer,) = layer_weights(model)
    assert (layer.counts[0], layer.counts[40], layer.counts[-1]) == (4, 1, 3)
    assert layer.mean_magnitude == pytest.approx(3.5 / 8)
    values = np.array([1, 0.5, 0, -1, 1, 0, 0, 0])
    centred = values - values.mean()
    assert layer.kurtosis == pytest.approx((centred**4).mean() / (centred**2).mean() ** 2 - 3)
    assert len(conductance_figure({"digital": [layer]}).axes) == 1


def test_svg_names_nothing_outside_and_ids_do_not_clash():
    rows = [DriftRow("hwa", chip, 1.0, "acc", 0.5, 0, "") for chip in (0, 1)]
    figure = DriftResults(rows, "acc", digital=0.9, chance=0.1).to_figure()
    first, second = (inline_svg(figure, key, 'a "title" & <more>') for key in ("a", "b"))
    assert "http" not in first
    assert 'role="img" aria-label="a &quot;title&quot; &amp; &lt;more>"' in first
    ids = [set(part.split('"')[0] for part in svg.split(' id="')[1:]) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]

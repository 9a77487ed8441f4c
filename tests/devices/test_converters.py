import pytest
import torch

from aimc_lightning.devices.converter_base import converter_from_dict, list_converters
from aimc_lightning.devices.converters import (
    CustomPair,
    DualPair,
    NPair,
    ShapedPair,
    SingleDevice,
    SinglePair,
)
from tests.helpers.statistics import generator

CONVERTERS = [
    SinglePair(),
    SinglePair(g_min_us=2.0),
    DualPair(factors=(1.0, 4.0)),
    NPair(factors=(1.0, 2.0, 4.0), g_min_us=1.0),
    CustomPair(tables_us=((0, 0, 25), (25, 0, 0))),
    CustomPair(tables_us=((0, 5, 10), (10, 5, 0), (2, 2, 2), (2, 2, 2)), factors=(1, 3)),
    SingleDevice(),
    ShapedPair(),
    ShapedPair(curve=(0, 0.25, 0.5, 0.75, 1)),
]
every_converter = pytest.mark.parametrize("converter", CONVERTERS, ids=str)
W = torch.randn(16, 9, generator=generator())


@every_converter
def test_weights_survive_the_round_trip(converter):
    conductances, scale = converter.to_conductances(W, 25.0)
    assert len(conductances) == converter.devices_per_weight
    back = converter.to_weights(conductances, scale, 25.0)
    assert (back - W).abs().max() < 2e-6 * W.abs().max()


@every_converter
def test_conductances_stay_in_the_announced_range(converter):
    low, high = converter.conductance_range_us(25.0)
    conductances, _ = converter.to_conductances(W, 25.0)
    assert min(g.min().item() for g in conductances) >= low - 1e-5
    assert max(g.max().item() for g in conductances) <= high + 1e-5


@every_converter
def test_converter_survives_its_dict_form(converter):
    assert converter_from_dict(converter.to_dict()) == converter


@every_converter
def test_convolution_weights_convert_in_their_shape(converter):
    w = W.view(4, 4, 3, 3)
    conductances, scale = converter.to_conductances(w, 25.0)
    assert all(g.shape == w.shape for g in conductances)
    assert converter.to_weights(conductances, scale, 25.0).shape == w.shape


def test_every_registered_converter_is_tested_here():
    assert {converter.name for converter in CONVERTERS} == set(list_converters())


def test_dual_pair_is_two_pairs():
    ours, _ = DualPair(factors=(1.0, 3.0)).to_conductances(W, 25.0)
    pairs, _ = NPair(factors=(1.0, 3.0)).to_conductances(W, 25.0)
    assert all(torch.equal(a, b) for a, b in zip(ours, pairs, strict=True))


@pytest.mark.parametrize("kind", [SinglePair, DualPair, NPair, SingleDevice])
def test_negative_smallest_conductance_is_refused(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__}.g_min_us is -1"):
        kind(g_min_us=-1.0)


@pytest.mark.parametrize("factors", [(1.0, 0.0), (1.0, -2.0)])
def test_factors_must_be_positive(factors):
    with pytest.raises(ValueError, match="every factor must be positive"):
        DualPair(factors=factors)


def test_dual_pair_needs_two_factors():
    with pytest.raises(ValueError, match="has 3 entries, but it must have 2; use NPair"):
        DualPair(factors=(1, 2, 3))


def test_no_factor_is_refused():
    with pytest.raises(ValueError, match=r"NPair.factors has 0 entries"):
        NPair(factors=())


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (((0, 1, 25), (25, 0, 0)), "is not invertible: position 1 of 3 adds up to 1 uS"),
        (((25, 0, 0), (0, 0, 25)), "is not invertible: position 0 of 3"),  # falling
        (((1, 1, 1), (1, 1, 1)), "is not invertible"),
        (((0, 25), (-25, 0)), "has a negative entry"),
        (((0, 25),), "1 tables were given for 1 factors"),
        (((0, 25), (25, 10, 0)), r"lengths \[2, 3\]"),
    ],
)
def test_table_that_cannot_be_inverted_is_refused(tables, message):
    with pytest.raises(ValueError, match=message):
        CustomPair(tables_us=tables)


def test_table_that_is_no_list_is_refused():
    with pytest.raises(TypeError, match="must be a list of tables"):
        CustomPair(tables_us="table")


def test_single_device_refuses_pairs():
    converter = SingleDevice()
    with pytest.raises(ValueError, match="2 conductances were given, but SingleDevice takes one"):
        converter.to_weights([W, W], torch.ones(2), 88.2)


def test_unknown_converter_and_field_are_refused():
    with pytest.raises(ValueError, match="unknown converter name 'triple'; known are custom_pair"):
        converter_from_dict({"name": "triple"})
    with pytest.raises(ValueError, match=r"'single_pair' has no field factors.*g_min_us"):
        converter_from_dict({"name": "single_pair", "factors": [1]})


def test_targets_of_a_shaped_pair_follow_its_curve_on_both_sides():
    w = torch.tensor([0.25, -0.5, 2.0, 0.0])
    (g_plus, g_minus), scale = ShapedPair(curve=(0, 0.4, 1)).to_conductances(w, 25.0)
    torch.testing.assert_close(g_plus, 25 * torch.tensor([0.1, 0.0, 1.0, 0.0]))
    torch.testing.assert_close(g_minus, 25 * torch.tensor([0.0, 0.2, 0.0, 0.0]))
    assert scale == 12.5


@pytest.mark.parametrize("curve", [(0.1, 1.0), (0.0, 1.2), (0.0, 0.0)])
def test_impossible_curve_is_refused(curve):
    with pytest.raises(ValueError, match=r"ShapedPair\.curve is .* must begin with 0"):
        ShapedPair(curve=curve)

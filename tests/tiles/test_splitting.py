"""``mapping.split_outliers``: idle rows of a tile repeat its largest inputs."""

import pytest
import torch
from torch import Tensor, nn

from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.evaluation.mapping.report import mapping_report
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.nn.base import analog_tiles, program_, set_time_
from aimc_lightning.presets import get_preset
from aimc_lightning.tiles.splitting import OutlierSplitting, rows_with_copies
from tests.helpers.first_batches import trained

SPLIT = {
    "mapping.split_outliers": True, "mapping.max_inputs": 512, "input_range.init_batches": 2,
}  # fmt: skip
#: Nothing but converters so fine that they are exact to 1e-5, and no clipping.
FINE = (
    get_preset("ideal")
    .with_values({"dac.bits": 20, "input_range.mode": "learned", "input_range.init_rule": "std"})
    .with_values({"input_range.init_std_alpha": 20.0, **SPLIT})
)
STANDARD = get_preset("standard_pcm").with_values(SPLIT)
YEAR_S = 31_536_000.0


def _with_outliers(*shape: int) -> Tensor:
    """Return inputs of which the second is twenty times, the fourth ten times as large."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    x[:, 1] *= 20
    x[:, 3] *= 10
    return x


def _tile(model: nn.Module):
    (tile,) = analog_tiles(model).values()
    return tile


LAYERS = [
    (nn.Linear(6, 5), (40, 6), FINE),
    (nn.Linear(700, 5), (40, 700), FINE),  # two tiles
    (nn.Linear(6, 5), (6,), FINE),
    (nn.Conv2d(4, 6, 3, padding=1), (8, 4, 7, 6), FINE),
    (nn.Conv1d(4, 6, 3, padding="same", bias=False), (8, 4, 9), FINE),
    (nn.Conv2d(70, 6, 3, padding=1), (8, 70, 5, 5), FINE),  # two tiles
    (nn.Conv2d(70, 6, 3), (8, 70, 5, 5), FINE.with_values({"mapping.conv_split": "unfold"})),
    (nn.Linear(6, 5), (40, 6), FINE.with_values({"input_range.centred": True})),
]


@pytest.mark.parametrize(("layer", "shape", "config"), LAYERS)
def test_the_product_and_its_gradients_are_the_digital_ones(layer, shape, config):
    torch.manual_seed(0)
    x = (_with_outliers(*shape) if len(shape) > 1 else torch.randn(shape)).requires_grad_()
    model = trained(layer, x.detach(), config)
    assert all(tile.splitting is not None for tile in analog_tiles(model).values())
    direction = torch.randn_like(layer(x))
    found = torch.autograd.grad((model(x) * direction).sum(), (x, model[0].weight))
    expected = torch.autograd.grad((layer(x) * direction).sum(), (x, layer.weight))
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=5e-2)
    for training in (True, False):
        model.train(training)
        torch.testing.assert_close(model(x), layer(x), rtol=2e-3, atol=1e-2)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_choice_has_a_smaller_largest_share(seed):
    generator = torch.Generator().manual_seed(seed)
    largest = torch.randn(7, generator=generator).exp()
    splitting = OutlierSplitting(7, 12)
    splitting.note_(largest[None], LinearProduct())
    copies = splitting.copies
    assert int(copies.sum()) == 12
    assert int(copies.min()) == 1
    worst = (largest / copies).max()
    # A share below the worst would need more rows for some input than there are.
    assert int((largest / (worst * 0.999)).ceil().sum()) > 12


def test_inputs_without_idle_rows_have_one_each():
    splitting = OutlierSplitting(3, 3)
    splitting.note_(torch.tensor([[5.0, 1.0, 1.0]]), LinearProduct())
    assert splitting.copies.tolist() == [1, 1, 1]


def test_rows_are_chosen_by_all_batches_until_a_restart():
    splitting, product = OutlierSplitting(3, 6), LinearProduct()
    assert splitting.copies.tolist() == [2, 2, 2]
    splitting.note_(torch.tensor([[8.0, 1.0, 1.0], [0.0, -1.0, 0.0]]), product)
    assert splitting.copies.tolist() == [4, 1, 1]
    splitting.note_(torch.tensor([1.0, -8.0, 1.0]), product)
    assert sorted(splitting.copies.tolist()) == [1, 2, 3]
    splitting.note_(torch.zeros(0, 3), product)
    splitting.restart_()
    splitting.note_(torch.tensor([[1.0, 1.0, 9.0]]), product)
    assert splitting.copies.tolist() == [1, 1, 4]


def test_rows_never_exceed_the_crossbar_nor_twice_the_inputs():
    assert rows_with_copies(384, 1, 512) == 512
    assert rows_with_copies(10, 1, 512) == 20
    assert rows_with_copies(512, 1, 512) == 512
    assert rows_with_copies(30, 9, 512) == 56
    for layer in (nn.Linear(512, 3), nn.Conv2d(56, 3, 3)):
        model = nn.Sequential(layer)
        convert_to_analog(model, STANDARD)
        assert _tile(model).splitting is None


def test_outliers_widen_no_range_and_cost_less_on_an_aged_chip():
    torch.manual_seed(0)
    layer, x = nn.Linear(200, 60), _with_outliers(500, 200)
    width, error = {}, {}
    for split in (False, True):
        config = STANDARD.with_values({"mapping.split_outliers": split})
        model = trained(layer, x, config).eval()
        width[split] = _tile(model).input_range.item()
        found = []
        for seed in range(4):
            program_(model, seed)
            set_time_(model, YEAR_S, seed)
            with torch.no_grad():
                found.append((model(x) - layer(x)).square().mean())
        error[split] = torch.stack(found).mean().sqrt().item()
    assert width[True] < 0.4 * width[False]
    assert error[True] < 0.6 * error[False]


def test_evaluation_and_later_batches_leave_the_choice():
    x = _with_outliers(50, 8)
    model = trained(nn.Linear(8, 4), x, STANDARD)
    before = _tile(model).splitting.copies.clone()
    model(x.flip(1))
    model.eval()
    model(x.flip(1))
    assert torch.equal(_tile(model).splitting.copies, before)


def test_centred_inputs_count_by_what_is_left():
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    x[:, 0] += 100.0
    x[:, 1] *= 5.0
    for centred, copies in ((False, [3, 1]), (True, [1, 3])):
        config = STANDARD.with_values({"input_range.centred": centred})
        tile = _tile(trained(nn.Linear(2, 3), x, config))
        assert tile.splitting.copies.tolist() == copies
    torch.testing.assert_close(tile.centring.mean, x.mean(0))


@pytest.mark.parametrize("device_noise", [False, True])
@pytest.mark.parametrize(("layer", "shape"), [
    (nn.Conv2d(4, 6, 3, padding=1), (8, 4, 7, 6)),
    (nn.Linear(6, 5), (40, 6)),
])  # fmt: skip
def test_copies_are_added_up_without_a_difference(monkeypatch, layer, shape, device_noise):
    """Same draws of noise, rows computed one by one and added up beforehand."""
    kind = {"weight_noise.type": "device", "weight_noise.std": 1.0} if device_noise else {}
    # Without output noise nothing is rounded to half precision.
    config = STANDARD.with_values({"noise.output_std": 0.0, **kind})
    x = _with_outliers(*shape).requires_grad_()
    model = trained(layer, x.detach(), config)
    found, widths = {}, {}
    for together in (True, False):
        monkeypatch.setattr(
            "aimc_lightning.tiles.splitting.can_add_copies", lambda _, t=together: t
        )
        monkeypatch.setattr("aimc_lightning.functional.kernels.HAS_CPU_KERNELS", False)
        torch.manual_seed(3)
        y = model.train()(x)
        grads = torch.autograd.grad(y.square().sum(), (x, model[0].weight))
        program_(model.eval(), 1)
        set_time_(model, YEAR_S, 1)
        widths[together] = _tile(model).prepare(model[0].weight).weights.weight.shape[1]
        found[together] = [y.detach(), *grads, model(x).detach()]
    assert widths[False] == 2 * widths[True]
    for one, other in zip(found[True], found[False], strict=True):
        # One step of a converter may fall to the other side of a half.
        difference = (one - other).norm() / other.norm()
        assert difference < 2e-3


def test_a_chip_keeps_the_rows_it_was_programmed_with():
    x, layer = _with_outliers(50, 8), nn.Linear(8, 4)
    model = trained(layer, x, FINE)
    program_(model.eval(), 1)
    expected, splitting = model(x), _tile(model).splitting
    splitting.restart_()
    splitting.note_(x.flip(1), LinearProduct())
    assert not torch.equal(splitting.copies, _tile(model).chip.splitting.copies)
    torch.testing.assert_close(model(x), expected)


def test_choice_comes_back_from_a_state_dict_and_goes_with_the_tiles():
    x, layer = _with_outliers(50, 8), nn.Linear(8, 4)
    model, other = trained(layer, x, STANDARD), nn.Sequential(nn.Linear(8, 4))
    convert_to_analog(other, STANDARD)
    other.load_state_dict(model.state_dict())
    for name in ("copies", "largest"):
        assert torch.equal(*(getattr(_tile(m).splitting, name) for m in (model, other)))
    convert_to_digital(other)
    assert set(other.state_dict()) == {"0.weight", "0.bias"}
    torch.testing.assert_close(other(x), layer(x))


def test_clipping_ends_at_the_same_weights():
    torch.manual_seed(0)
    layer, found = nn.Linear(8, 4), []
    for split in (False, True):
        values = {"mapping.split_outliers": split, "clip.type": "gaussian", "clip.sigma": 1.0}
        model = trained(layer, _with_outliers(50, 8), STANDARD.with_values(values))
        model[0].analog.clip_(model[0].weight)
        found.append(model[0].weight.detach().clone())
    assert torch.equal(*found)
    assert not torch.equal(found[0], layer.weight)


def test_the_mapping_counts_the_rows_that_are_used():
    model = nn.Sequential(nn.Linear(384, 100))
    convert_to_analog(model, STANDARD)
    (layer,) = mapping_report(model).layers
    assert layer.rows == (512,)
    assert layer.weights == 38_400
    assert layer.devices == 2 * 51_200


@pytest.mark.parametrize(("layer", "name"), [
    (nn.LSTM(3, 4, num_layers=2, proj_size=2), "weight_ih"),
    (nn.GRUCell(3, 4), "weight_ih"),
    (nn.Conv2d(4, 6, 3, groups=2), "none"),
])  # fmt: skip
def test_recurrent_matrices_and_groups_are_not_split(layer, name):
    model = nn.Sequential(layer)
    convert_to_analog(model, STANDARD)
    for tile_name, tile in analog_tiles(model).items():
        assert (tile.splitting is not None) == (name in tile_name), tile_name


@pytest.mark.parametrize(("values", "message"), [
    ({"mapping.max_inputs": 0}, "max_inputs = 0 sets no number of rows"),
    ({"input_range.mode": "fixed"}, "mode 'fixed' and init_batches = 2"),
    ({"input_range.init_batches": 0}, "mode 'learned' and init_batches = 0"),
])  # fmt: skip
def test_settings_without_idle_rows_or_batches_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        STANDARD.with_values(values)


def test_compiled_layers_give_the_same():
    x = _with_outliers(50, 8)
    model = trained(nn.Linear(8, 4), x, FINE).eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))

"""Multi-head attention on tiles."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.nn.attention import AnalogMultiheadAttention
from aimc_lightning.nn.base import analog_arrays, analog_layers
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.presets import get_preset
from tests.helpers.conformance import TILED, Case, LayerConformance, flat

EMBED, HEADS = 8, 2


class _SelfAttention(nn.MultiheadAttention):
    """Attention of one input to itself, so that a model of one layer takes one input."""

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return super().__call__(x, x, x)


class _Wrapped(AnalogMultiheadAttention):
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return super().__call__(x, x, x)


CASES = {
    "packed": Case(lambda: _SelfAttention(EMBED, HEADS), (5, 3, EMBED), batch_axis=1),
    "batch first": Case(lambda: _SelfAttention(EMBED, HEADS, batch_first=True), (3, 5, EMBED)),
    "no bias": Case(lambda: _SelfAttention(EMBED, HEADS, bias=False), (5, 3, EMBED), batch_axis=1),
    "wide": Case(lambda: _SelfAttention(40, 4), (5, 3, 40), batch_axis=1),
    "unbatched": Case(lambda: _SelfAttention(EMBED, HEADS), (5, EMBED), batch_axis=None),
    "extra keys": Case(
        lambda: _SelfAttention(EMBED, HEADS, add_bias_kv=True, add_zero_attn=True),
        (5, 3, EMBED),
        batch_axis=1,
    ),
}


class TestAnalogMultiheadAttention(LayerConformance):
    @pytest.fixture(params=CASES.values(), ids=list(CASES))
    def case(self, request, monkeypatch):
        monkeypatch.setattr(
            "aimc_lightning.nn.registry.ANALOG_CLASSES",
            {nn.Linear: AnalogLinear, nn.MultiheadAttention: _Wrapped},
        )
        return request.param


def _mask(kind: str | None, shape: tuple[int, ...]) -> Tensor | None:
    if kind is None:
        return None
    values = torch.randn(shape, dtype=torch.float64)
    if kind == "float":
        return values
    mask = values > 0
    mask[..., 0] = False  # a row without any key is NaN, in torch as here
    return mask


MODULES = list(itertools.product((True, False), (False, True), (False, True), (None, (5, 6))))
CALLS = list(
    itertools.product(
        (True, False),  # batched
        (True, False),  # need weights
        (True, False),  # average them
        (None, 2, 3),  # axes of the attention mask
        (False, True),  # padding mask
        ("bool", "float"),
    )
)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("bias", "bias_kv", "zero", "sizes"), MODULES)
def test_every_option_equals_the_digital_layer_with_all_gradients(
    bias, bias_kv, zero, sizes, batch_first
):
    torch.manual_seed(0)
    k_size, v_size = sizes or (EMBED, EMBED)
    digital = nn.MultiheadAttention(
        EMBED, HEADS, bias=bias, add_bias_kv=bias_kv, add_zero_attn=zero, kdim=k_size,
        vdim=v_size, batch_first=batch_first,
    ).double()  # fmt: skip
    analog = AnalogMultiheadAttention.from_digital(digital, TILED)
    assert not analog.bypass
    for batched, need, average, axes, padded, kind in CALLS:
        lead = (3,) if batched else ()
        inputs = [
            torch.randn(*lead, length, size, dtype=torch.float64, requires_grad=True)
            for length, size in ((4, EMBED), (5, k_size), (5, v_size))
        ]
        shape = (3 * HEADS if batched else HEADS, 4, 5)[3 - axes :] if axes else ()
        masks = {
            "attn_mask": _mask(kind if axes else None, shape),
            "key_padding_mask": _mask(kind if padded else None, (*lead, 5)),
        }
        found = []
        for layer in (digital, analog):
            given = [x.transpose(0, 1) if batched and not batch_first else x for x in inputs]
            output = layer(*given, need_weights=need, average_attn_weights=average, **masks)
            values = flat(output)
            parameters = list(digital.parameters())
            grads = torch.autograd.grad(values.square().sum(), [*inputs, *parameters])
            found.append([*output[: 1 + need], *grads])
        for ours, expected in zip(found[1], found[0], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("need", [False, True])
def test_causal_hint_equals_the_digital_layer(need, padded):
    digital = nn.MultiheadAttention(EMBED, HEADS).double()
    analog = AnalogMultiheadAttention.from_digital(digital, TILED)
    x = torch.randn(4, 3, EMBED, dtype=torch.float64)
    mask = torch.ones(4, 4, dtype=torch.bool).triu(1)
    padding = torch.tensor([[False, False, False, True]] * 3) if padded else None
    ours, expected = (
        flat(layer(x, x, x, padding, need, mask, is_causal=True)) for layer in (analog, digital)
    )
    torch.testing.assert_close(ours, expected)


def test_causal_hint_without_a_mask_is_refused():
    layer = AnalogMultiheadAttention.from_digital(nn.MultiheadAttention(EMBED, HEADS), TILED)
    x = torch.zeros(4, 3, EMBED)
    with pytest.raises(RuntimeError, match="give the mask"):
        layer(x, x, x, is_causal=True)


def test_integer_mask_is_refused():
    layer = AnalogMultiheadAttention.from_digital(nn.MultiheadAttention(EMBED, HEADS), TILED)
    x = torch.zeros(4, 3, EMBED)
    with pytest.raises(TypeError, match="int64"):
        layer(x, x, x, attn_mask=torch.zeros(4, 4, dtype=torch.int64))


def test_attention_dropout_acts_in_training_only():
    layer = AnalogMultiheadAttention.from_digital(
        nn.MultiheadAttention(EMBED, HEADS, dropout=0.5), TILED
    )
    x = torch.randn(4, 3, EMBED)
    for need in (False, True):
        layer.train()
        assert not torch.equal(layer(x, x, x, need_weights=need)[0], layer(x, x, x)[0])
        layer.eval()
        first = layer(x, x, x, need_weights=need)[0]
        assert torch.equal(first, layer(x, x, x, need_weights=need)[0])


def test_query_key_and_value_have_tiles_of_their_own_on_views_of_the_packed_weight():
    layer = AnalogMultiheadAttention.from_digital(nn.MultiheadAttention(EMBED, HEADS), TileConfig())
    arrays = analog_arrays(layer)
    assert list(arrays) == ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
    packed = layer.in_proj_weight
    assert torch.equal(torch.cat([weight for _, weight in arrays.values()]), packed)
    assert all(weight.data_ptr() >= packed.data_ptr() for _, weight in arrays.values())


def test_output_projection_is_a_layer_of_its_own():
    model = nn.Sequential(nn.MultiheadAttention(EMBED, HEADS))
    report = convert_to_analog(model)
    assert [row.name for row in report.converted] == ["0", "0.out_proj"]
    assert list(analog_layers(model)) == ["0", "0.out_proj"]
    assert report.converted[1].type == "NonDynamicallyQuantizableLinear"


def test_output_projection_of_a_digital_attention_stays_digital_since_nobody_calls_it():
    model = nn.Sequential(nn.MultiheadAttention(EMBED, HEADS), nn.Linear(EMBED, 2))
    report = convert_to_analog(model, exclude=["0"])
    assert [row.name for row in report.converted] == ["1"]
    assert {row.name: row.reason for row in report.kept} == {
        "0": "excluded",
        "0.out_proj": "MultiheadAttention reads its weight and never calls it",
    }


def test_ideal_attention_uses_its_output_projection_when_that_is_not_ideal():
    layer = nn.MultiheadAttention(EMBED, HEADS)
    model, x = nn.Sequential(layer), torch.randn(4, 3, EMBED)
    expected = layer(x, x, x)[0]
    convert_to_analog(model, "ideal", layers={"0.out_proj": "standard_pcm"})
    assert model[0].analog["q_proj_weight"].bypass
    assert not torch.equal(model[0](x, x, x)[0], expected)


def _encoder() -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(EMBED, HEADS, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2).eval()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("padded", [False, True])
def test_fused_path_of_a_transformer_does_not_leave_the_tiles_out(padded):
    model, x = _encoder(), torch.randn(3, 4, EMBED)
    padding = torch.tensor([[False, False, False, True]] * 3) if padded else None
    with torch.no_grad():
        expected = model(x, src_key_padding_mask=padding)
        for selection in (["*.self_attn"], ["*.linear1"]):
            analog = _encoder()
            convert_to_analog(analog, include=selection)
            found = analog(x, src_key_padding_mask=padding)
            assert not torch.allclose(found[:, :3], expected[:, :3], atol=1e-4)
            analog = _encoder()
            convert_to_analog(analog, "ideal", include=selection)
            found = analog(x, src_key_padding_mask=padding)
            torch.testing.assert_close(found[:, :3], expected[:, :3], rtol=1e-4, atol=1e-5)


def test_standard_preset_changes_the_output():
    layer = nn.MultiheadAttention(EMBED, HEADS)
    x = torch.randn(4, 3, EMBED)
    ideal, standard = (
        AnalogMultiheadAttention.from_digital(layer, get_preset(name))(x, x, x)[0]
        for name in ("ideal", "standard_pcm")
    )
    assert torch.equal(ideal, layer(x, x, x)[0])
    assert not torch.allclose(ideal, standard, atol=1e-4)

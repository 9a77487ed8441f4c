"""Swapping layers: selection, sharing, report, and the way back."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import convert_to_analog, convert_to_digital
from aimc_lightning.nn.base import analog_layers, program_
from aimc_lightning.nn.conv import AnalogConv2d
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.presets import get_preset


class Net(nn.Module):
    """Two convolutions, a normalisation and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer1(self.norm(self.stem(x))).flatten(1))


def _names(model: nn.Module, **options: object) -> list[str]:
    convert_to_analog(model, "ideal", **options)
    return list(analog_layers(model))


def test_every_convertible_layer_is_swapped_by_default():
    model = Net()
    assert _names(model) == ["stem", "layer1.0", "head"]
    assert isinstance(model.stem, AnalogConv2d)
    assert isinstance(model.head, AnalogLinear)
    assert type(model.norm) is nn.BatchNorm2d


@pytest.mark.parametrize(("selectors", "expected"), [
    (["head"], ["head"]), (["layer1.*"], ["layer1.0"]), (["re:^(stem|head)$"], ["stem", "head"]),
    ([nn.Conv2d], ["stem", "layer1.0"]), (["Linear"], ["head"]),
    (["*"], ["stem", "layer1.0", "head"]),
    (["first", "last"], ["stem", "head"]), (["stem", "Linear"], ["stem", "head"]),
])  # fmt: skip
def test_layers_are_selected_by_name_glob_expression_and_type(selectors, expected):
    assert _names(Net(), include=selectors) == expected
    every = ["stem", "layer1.0", "head"]
    if expected != every:
        assert _names(Net(), exclude=selectors) == [n for n in every if n not in expected]


def test_exclude_wins_over_include():
    assert _names(Net(), include=[nn.Conv2d], exclude=["stem"]) == ["layer1.0"]


def test_settings_of_single_layers_count_in_order():
    special = TileConfig().with_values({"adc.bits": 6})
    model = Net()
    convert_to_analog(
        model, "ideal", layers={"head": None, "layer1.*": "standard_pcm", "Conv2d": special}
    )
    assert type(model.head) is nn.Linear
    assert model.layer1[0].analog.config == TileConfig()
    assert model.stem.analog.config == special


@pytest.mark.parametrize("options", [
    {"include": ["haed"]}, {"exclude": ["haed"]}, {"layers": {"haed": None}},
])  # fmt: skip
def test_selector_without_a_match_lists_the_layers_and_changes_nothing(options):
    model = Net()
    with pytest.raises(ValueError, match=r"No layer matches 'haed'; name some of stem"):
        convert_to_analog(model, **options)
    assert not analog_layers(model)


def test_broken_regular_expression_is_refused_as_such():
    with pytest.raises(ValueError, match=r"'re:\(' is not a regular expression .*; escape"):
        convert_to_analog(Net(), include=["re:("])


@pytest.mark.parametrize(("build", "message"), [
    (lambda: nn.Sequential(nn.ReLU()), "no layer with weights"),
    (lambda: nn.Sequential(nn.BatchNorm1d(3)), r"0 \(BatchNorm1d\): normalisation is digital"),
    (lambda: nn.Linear(2, 2), "wrap it in a parent"),
])  # fmt: skip
def test_nothing_to_convert_is_an_error_that_says_why(build, message):
    with pytest.raises(ValueError, match=rf"No layer was converted.*{message}"):
        convert_to_analog(build())


def test_unknown_preset_changes_nothing():
    model = Net()
    with pytest.raises(ValueError, match="Unknown preset 'pcm'"):
        convert_to_analog(model, "pcm")
    assert not analog_layers(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", ["weight", "bias"])
def test_non_finite_weight_names_the_layer_and_changes_nothing(value, which):
    model = Net()
    with torch.no_grad():
        getattr(model.layer1[0], which).view(-1)[0] = value
    with pytest.raises(ValueError, match=rf"Layer 'layer1.0': {which} holds NaN or infinite"):
        convert_to_analog(model)
    assert not analog_layers(model)


def test_layer_that_does_not_fit_its_config_is_named_and_nothing_changed():
    model = Net()
    config = TileConfig().with_values({"mapping.max_inputs": 8})
    with pytest.raises(ValueError, match=r"Layer 'stem': A kernel of 9 elements does not fit"):
        convert_to_analog(model, config)
    assert not analog_layers(model)


def test_layer_reached_from_two_parents_is_converted_once():
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.Sequential(nn.ReLU(), shared)})
    report = convert_to_analog(model)
    assert model["a"][0] is model["b"][1]
    assert isinstance(model["a"][0], AnalogLinear)
    assert [row.name for row in report.converted] == ["a.0"]
    convert_to_digital(model)
    assert model["a"][0] is model["b"][1]
    assert type(model["a"][0]) is nn.Linear


class Tied(nn.Module):
    """A language model's tie: the output layer reads the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.output = nn.Linear(4, 7, bias=False)
        self.output.weight = self.embedding.weight


def test_tied_weights_keep_their_tie_both_ways():
    model = Tied()
    convert_to_analog(model)
    assert model.output.weight is model.embedding.weight
    assert len([n for n, _ in model.named_parameters() if "analog" not in n]) == 1
    convert_to_digital(model)
    assert model.output.weight is model.embedding.weight


def test_trained_scale_of_a_tied_weight_cuts_the_tie_with_a_warning():
    model = Tied()
    convert_to_analog(model)
    before = model.embedding.weight.detach().clone()
    with torch.no_grad():
        model.output.analog.tiles[0].out_scale.fill_(2.0)
    with pytest.warns(UserWarning, match="'output' shares its weight with another module"):
        convert_to_digital(model)
    assert torch.equal(model.embedding.weight, before)
    assert torch.equal(model.output.weight, 2 * before)


def test_two_tied_linear_layers_stay_tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    convert_to_analog(model)
    assert model[1].weight is model[0].weight


def test_optimizer_made_before_keeps_training_the_same_parameters():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    convert_to_analog(model)
    before = model.head.weight.detach().clone()
    model(torch.randn(2, 3, 6, 6)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.head.weight, before)


def test_second_conversion_with_equal_settings_does_nothing():
    model = Net()
    options = {"exclude": ["head"], "layers": {"stem": "ideal"}}
    convert_to_analog(model, **options)
    modules = list(model.modules())
    report = convert_to_analog(model, **options)
    assert report.already
    assert report.converted == report.kept == []
    assert all(map(lambda a, b: a is b, modules, model.modules()))


def test_second_conversion_with_other_settings_is_refused():
    model = Net()
    convert_to_analog(model)
    with pytest.raises(
        ValueError, match=r"Layer 'stem' is already analog with another config; call"
    ):
        convert_to_analog(model, "ideal")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"exclude": ["2"]}, {}, "Layer '2' is digital, but the model was converted before"),
        ({}, {"exclude": ["2"]}, r"Layer '2' is analog \(excluded now\), but"),
        ({"include": ["0"]}, {"include": ["2"]}, r"several configs as layers=\{name: config\}"),
    ],
)
def test_second_call_with_another_selection_is_refused(first, second, message):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    convert_to_analog(model, **first)
    with pytest.raises(ValueError, match=message):
        convert_to_analog(model, **second)
    assert convert_to_analog(model, **first).already


class Doubled(nn.Linear):
    """A linear layer with a forward of its own."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


class Renamed(nn.Linear):
    """A linear layer that computes what torch's does."""


def test_subclass_that_changes_forward_stays_digital_with_the_reason():
    model = nn.Sequential(Doubled(2, 2), Renamed(2, 2))
    report = convert_to_analog(model)
    assert [row.name for row in report.converted] == ["1"]
    assert report.kept[0].reason == "Doubled changes forward() of Linear"


def test_subclass_comes_back_as_itself():
    model = nn.Sequential(Renamed(2, 2))
    convert_to_analog(model)
    convert_to_digital(model)
    assert type(model[0]) is Renamed


@pytest.mark.parametrize(("build", "reason"), [
    (lambda: parametrizations.weight_norm(nn.Linear(2, 2)), "reparametrised"),
    (lambda: nn.LazyLinear(2), "run it once before converting"),
    (lambda: nn.Embedding(2, 2), "look-up"),
    (lambda: nn.ConvTranspose2d(2, 2, 3), "transposed"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_layer_that_cannot_be_converted_says_why(build, reason):
    report = convert_to_analog(nn.Sequential(build(), nn.Linear(2, 2)))
    assert reason in report.kept[0].reason


def test_report_is_complete_and_readable():
    config = TileConfig().with_values({"mapping.max_outputs": 2})
    report = convert_to_analog(Net(), config, exclude=["head"])
    assert str(report).splitlines() == [
        "stem      Conv2d       2 tiles",
        "layer1.0  Conv2d       2 tiles",
        "norm      BatchNorm2d  digital: normalisation is digital",
        "head      Linear       digital: excluded",
        "2 layers on 4 tiles, 2 layers with weights stay digital",
    ]


def test_converted_model_keeps_its_mode_and_can_be_copied():
    model = Net().eval()
    convert_to_analog(model)
    assert not any(module.training for module in model.modules())
    twin = copy.deepcopy(model)
    assert list(twin.state_dict()) == list(model.state_dict())


def test_programmed_model_comes_back_with_its_trained_weights():
    model, digital = Net().eval(), Net().eval()
    digital.load_state_dict(model.state_dict())
    convert_to_analog(model)
    program_(model, 1)
    convert_to_digital(model)
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(model(x), digital(x))


def test_ideal_network_equals_the_digital_one_bit_for_bit_with_gradients():
    model = Net()
    digital = copy.deepcopy(model)
    convert_to_analog(model, get_preset("ideal"))
    x = torch.randn(4, 3, 6, 6)
    for net in (model, digital):
        net(x).square().sum().backward()
    for name, parameter in digital.named_parameters():
        assert torch.equal(model.get_parameter(name).grad, parameter.grad), name


def test_fused_transformer_layer_runs_on_tiles_in_evaluation():
    # torch's fused path reads the weights of its layers without calling them.
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        digital = model(x)
        convert_to_analog(model)
        assert not torch.equal(model(x), digital)
        torch.testing.assert_close(convert_to_digital(model)(x), digital)

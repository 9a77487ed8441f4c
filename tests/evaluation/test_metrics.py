import math

import pytest
from torch import nn

from aimc_lightning.evaluation.metrics import (
    choose_metric,
    guess_chance,
    is_share,
    last_layer,
    lower_is_better,
)


@pytest.mark.parametrize("name", ["loss", "test_loss", "val/perplexity", "error-rate", "WER"])
def test_losses_and_errors_are_better_when_lower(name):
    assert lower_is_better(name)


@pytest.mark.parametrize("name", ["acc", "val_acc", "terror_free", "flossing", "f1"])
def test_other_metrics_are_better_when_higher(name):
    assert not lower_is_better(name)


def test_share_is_told_from_a_loss():
    assert is_share("test_acc")
    assert is_share("val_error")
    assert not is_share("val_loss")


def test_unknown_metric_lists_those_logged():
    with pytest.raises(ValueError, match=r"'f1'; it logs: test_acc, test_loss"):
        choose_metric({"test_loss": 1.0, "test_acc": 0.5}, "f1")


def test_nothing_logged_is_an_error():
    with pytest.raises(ValueError, match="logs no metric"):
        choose_metric({}, None)


def test_only_accuracy_is_chosen():
    assert choose_metric({"test_loss": 1.0, "test_acc": 0.5}, None) == "test_acc"
    assert choose_metric({"test_loss": 1.0}, None) == "test_loss"


def test_several_candidates_need_a_choice():
    with pytest.raises(ValueError, match="Several metrics"):
        choose_metric({"a_acc": 1.0, "b_acc": 0.5}, None)


@pytest.mark.parametrize(("name", "chance"), [
    ("test_acc", 0.1), ("error", 0.9), ("perplexity", 10.0), ("loss", math.log(10)), ("wer", 1.0),
    ("mse", None),
])  # fmt: skip
def test_chance_level_of_ten_classes(name, chance):
    assert guess_chance(name, 10) == (None if chance is None else pytest.approx(chance))


def test_one_output_is_a_binary_decision():
    assert guess_chance("acc", 1) == 0.5


def test_last_linear_layer_gives_the_classes():
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7), nn.ReLU())
    assert last_layer(model) == ("1", 7)
    assert last_layer(nn.ReLU()) is None

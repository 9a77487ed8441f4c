import pytest

from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow
from aimc_lightning.recipes.html_report.verdict import verdict


def _results(stages, spread=0.0005, chips=3, **options):
    rows = [
        DriftRow(stage, chip, time, "acc", score + spread * (chip - 1), 0, "")
        for stage, scores in stages.items()
        for time, score in scores.items()
        for chip in range(chips)
    ]
    return DriftResults(rows, "acc", **{"digital": 0.9, "chance": 0.1, **options})


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({1.0: 0.9, 3600.0: 0.898}, "Iso-accurate at all measured times, up to 1 h"),
        ({1.0: 0.9, 3600.0: 0.86}, "Iso-accurate up to 1 s; A* is below 99 % at 1 h (95.0 %)."),
        ({1.0: 0.86, 3600.0: 0.85}, "Not iso-accurate: A* is below 99 % already at 1 s (95.0 %)."),
    ],
)
def test_first_sentence_says_for_how_long(scores, message):
    assert verdict(_results({"hwa": scores}))[0].startswith(message)


def test_gain_of_retraining_is_named_at_the_last_time():
    text = " ".join(verdict(_results({"direct": {1.0: 0.8}, "hwa": {1.0: 0.9}})))
    assert "Mapped without retraining A* is 87.5 % at 1 s" in text
    assert "by +12.5 points" in text


def test_interval_that_holds_the_limit_is_not_certain():
    text = " ".join(verdict(_results({"hwa": {1.0: 0.892}}, spread=0.005)))
    assert "Not certain at 1 s" in text
    assert "measure more chips" in text
    assert "Not certain" not in " ".join(verdict(_results({"hwa": {1.0: 0.9}})))


def test_one_chip_no_chance_nan_and_nothing_are_said():
    assert "One chip" in " ".join(verdict(_results({"hwa": {1.0: 0.9}}, chips=1)))
    assert "there is no verdict" in verdict(_results({"hwa": {1.0: 0.9}}, chance=None))[0]
    assert verdict(None) == ["Nothing was measured on chips yet."]
    rows = [
        *_results({"hwa": {1.0: 0.9}}).rows,
        DriftRow("hwa", 9, 1.0, "acc", float("nan"), 0, ""),
    ]
    assert "1 measurements gave no number" in verdict(DriftResults(rows, "acc", 0.9, 0.1))[-1]

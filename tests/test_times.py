import numpy as np
import pytest
import torch

from aimc_lightning.times import format_time, parse_time


@pytest.mark.parametrize(("text", "seconds"), [
    ("1s", 1), ("90s", 90), ("10min", 600), ("2h", 7200), ("1.5d", 129600), ("1y", 31536000),
    ("25", 25), ("1e3s", 1000), (0, 0), (7.5, 7.5),
    (np.int64(25), 25), (torch.tensor(25), 25),
])  # fmt: skip
def test_time_is_read_in_seconds(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("bad", [
    "-1s", -1, "soon", "1 week", "", "1dd", float("nan"), True, None,
    np.int64(-1), torch.tensor(True), b"5",
])  # fmt: skip
def test_time_that_cannot_be_names_the_value_and_the_rule(bad):
    with pytest.raises(ValueError, match=r"number of seconds from 0 up"):
        parse_time(bad)


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0 s"), (1, "1 s"), (90, "90 s"), (7200, "2 h"), (172800, "2 days"), (31536000, "1 year"),
])  # fmt: skip
def test_time_is_written_in_the_largest_whole_unit(seconds, text):
    assert format_time(seconds) == text

import multiprocessing
import os
import random
import signal
import time

import pytest

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.rows import RowFile
from aimc_lightning.evaluation.sweep import evaluate_drift
from tests.helpers.toy import LIGHTNING_ADVICE, ToyData, toy, trainer

pytestmark = [
    *(pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


def _evaluate(path):
    module = toy(hidden=16)
    convert_to_analog(module)
    return evaluate_drift(
        trainer(), module, ToyData(samples=100), ("1s", "1d"), 15, metric="test_loss",
        chance=9.0, progress=False, csv_path=path,
    )  # fmt: skip


def _killed(path, size, delay_s):
    """Evaluate in a process that is killed a moment after the file has reached a size."""
    process = multiprocessing.get_context("fork").Process(target=_evaluate, args=(path,))
    process.start()
    while process.is_alive() and (path.stat().st_size if path.exists() else -1) < size:
        time.sleep(1e-4)
    time.sleep(delay_s)
    process.kill()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_kill_loses_no_finished_row_and_gives_the_same_table(kills, tmp_path):
    expected = _evaluate(tmp_path / "whole.csv")
    whole = (tmp_path / "whole.csv").read_bytes()
    path, draw, before = tmp_path / "drift.csv", random.Random(kills), []
    for share in sorted(draw.uniform(0, 0.9) for _ in range(kills)):
        # A row takes some milliseconds, so the kill comes anywhere in it.
        end = _killed(path, share * len(whole), draw.uniform(0, 0.02))
        assert end == -signal.SIGKILL
        rows = RowFile(path).rows
        assert rows[: len(before)] == before
        before = rows
    assert before
    results = _evaluate(path)
    assert (results.rows, str(results)) == (expected.rows, str(expected))
    assert path.read_bytes() == whole

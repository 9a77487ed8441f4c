"""The tables of measured times are what the measurements beside the benchmark say."""

import json
import sys

import pytest


@pytest.fixture
def report(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    yield pytest.importorskip("report")
    for name in ("report", "cases"):
        sys.modules.pop(name, None)


def test_committed_tables_are_what_the_results_say(report, root, tmp_path):
    folder = root / "benchmarks"
    results = json.loads((folder / "results.json").read_text())
    readme = (root / "README.md").read_text()
    assert report.with_table(readme, results) == readme
    report.make_report(results, tmp_path)
    assert (tmp_path / "results.md").read_text() == (folder / "results.md").read_text()


def test_table_follows_the_results(report, root):
    results = json.loads((root / "benchmarks" / "results.json").read_text())
    results["time"]["linear"]["train"]["full"][0] *= 100
    readme = (root / "README.md").read_text()
    assert report.with_table(readme, results) != readme

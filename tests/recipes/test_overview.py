import csv

import pytest

from aimc_lightning.recipes.overview import overview, overview_table
from aimc_lightning.zoo.registry import get_entry


@pytest.fixture(scope="module")
def entries():
    return {entry["name"]: entry for entry in overview()}


def test_scores_are_those_of_the_published_results(entries, root):
    with (root / "zoo" / "resnet8_digits" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    entry = entries["resnet8_digits"]
    assert entry["digital"] == float(rows[0]["mean"])
    for found, row in zip(entry["hwa"], rows[5:], strict=True):
        assert row["stage"] == "hwa"
        assert {key: float(row[key]) for key in found} == found
    assert entry["status"] == "measured"


def test_entry_without_results_says_so(entries):
    entry = entries["resnet50_imagenet"]
    assert (entry["status"], entry["digital"], entry["hwa"]) == ("not measured here", None, [])


def test_entry_tells_its_size_data_and_licence(entries):
    entry, registered = entries["mlp_mnist"], get_entry("mlp_mnist")
    assert (entry["parameters"], entry["tiles"]) == (269_322, 4)
    assert (entry["data"], entry["licence"]) == (registered.data, registered.licence)


def test_table_shows_percent_at_each_time(entries):
    (cell,) = overview_table([entries["resnet32_cifar10"]]).columns[2].cells
    lines = cell.splitlines()
    assert lines[:2] == ["measured", "digital 90.65"]
    assert [line[:10] for line in lines[2:]] == [
        "HWA 1 s   ",
        "HWA 1 h   ",
        "HWA 1 day ",
        "HWA 1 year",
    ]
    assert all("+-" in line for line in lines[2:])

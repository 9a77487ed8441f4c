import json

import pytest

from aimc_lightning.recipes import sizes
from aimc_lightning.recipes.catalog import list_recipes
from aimc_lightning.recipes.sizes import Size, main, measure_size, size_of
from tests.helpers.entries import marked


@pytest.mark.parametrize("name", list_recipes())
def test_every_entry_has_its_size_beside_it(name, root):
    assert (root / "zoo" / name / "size.json").is_file(), (
        "run python -m aimc_lightning.recipes.sizes"
    )


@pytest.mark.parametrize("name", marked(list_recipes()))
def test_committed_size_is_what_the_network_says(name):
    assert size_of(name) == measure_size(name)


def test_size_is_that_of_the_perceptron():
    # 784 x 256 takes two tiles of 512 rows, 256 x 256 and 256 x 10 one each.
    assert measure_size("mlp_mnist") == Size(parameters=269_322, tiles=4)


def test_size_is_written_beside_the_entry(tmp_path):
    (tmp_path / "zoo" / "mlp_mnist").mkdir(parents=True)
    main(["mlp_mnist", "--root", str(tmp_path)])
    text = (tmp_path / "zoo" / "mlp_mnist" / "size.json").read_text()
    assert Size(**json.loads(text)) == size_of("mlp_mnist")


def test_entry_without_the_file_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "files", lambda package: tmp_path)
    assert size_of("mlp_mnist").tiles == 4

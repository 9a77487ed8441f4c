"""Checks that hold for the whole suite."""

import logging
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    spec = find_spec("aimc_lightning.zoo")
    if spec is None or Path(spec.origin).resolve() != ROOT / "zoo" / "__init__.py":
        pytest.exit("The tests need an editable install of this folder: run 'make test'.", 4)
    # Lightning keeps its records to itself if it was imported before pytest's handlers were set.
    logging.getLogger("lightning.pytorch").propagate = True
    torch.set_num_threads(1)  # small tensors; and results do not depend on the machine's cores


#: Sharded and compiled modules start threads of autograd, after which torch cannot train in forked
#: processes; so these come last.
_LAST = ["test_fsdp.py", "test_compile.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LAST, 1)}
    items.sort(key=lambda item: places.get(item.path.name, 0))


@pytest.fixture
def root() -> Path:
    """Folder of the repository."""
    return ROOT

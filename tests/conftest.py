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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Compiled modules start threads of autograd; after that torch cannot train in forked processes.
    items.sort(key=lambda item: item.path.name == "test_compile.py")


@pytest.fixture
def root() -> Path:
    """Folder of the repository."""
    return ROOT

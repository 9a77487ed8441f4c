"""Checks that hold for the whole suite."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    spec = find_spec("aimc_lightning.zoo")
    if spec is None or Path(spec.origin).resolve() != ROOT / "zoo" / "__init__.py":
        pytest.exit("The tests need an editable install of this folder: run 'make test'.", 4)
    torch.set_num_threads(1)  # small tensors; and results do not depend on the machine's cores


@pytest.fixture
def root() -> Path:
    """Folder of the repository."""
    return ROOT

"""A small analog network, its checkpoint, and a hub to send it to."""

import time

import pytest

from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.rows import DriftRow
from aimc_lightning.hub.config_file import Origin
from aimc_lightning.hub.folder import save_pretrained
from tests.helpers.checkpoints import make_module
from tests.helpers.hub_server import HubServer


@pytest.fixture
def module():
    return make_module()


@pytest.fixture
def results():
    rows = [
        DriftRow("hwa", chip, time_s, "test_acc", 0.9 - 0.01 * chip, 0, "f")
        for chip in range(3)
        for time_s in (1.0, 3600.0)
    ]
    return DriftResults(rows, "test_acc", digital=0.92, chance=0.1)


@pytest.fixture
def checkpoint(module, results, tmp_path):
    """Folder of a complete checkpoint."""
    origin = Origin(recipe="tied", recipe_text="seed: 1\n", command="aimc-lightning run tied")
    return save_pretrained(module, tmp_path / "checkpoint", origin=origin, results=results)


@pytest.fixture
def hub(monkeypatch):
    """An empty hub; waiting times of the client are left out."""
    server = HubServer()
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 256)
    monkeypatch.setattr("aimc_lightning.hub.client.TIMEOUT_S", 0.3)
    yield server
    server.close()

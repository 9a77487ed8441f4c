"""``export``, ``pull`` and ``push``: from a run to a folder, to a hub, and back."""

import re
import time

import pytest

from aimc_lightning import analog_layers, from_pretrained
from aimc_lightning.recipes.cli import main
from tests.helpers.checkpoints import contents
from tests.helpers.hub_server import NEEDS_HUB_1, HubServer


@pytest.fixture
def hub(monkeypatch):
    server = HubServer()
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.close()


def test_export_of_a_run_loads_and_names_no_path(short_run, tmp_path, capsys):
    pytest.importorskip("sklearn")
    main(short_run("resnet8_digits"))
    main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--traceback"])
    files = contents(tmp_path / "out")
    assert len(files) == 5
    assert not [name for name, text in files.items() if str(tmp_path).encode() in text]
    assert b"aimc-lightning run resnet8_digits --chips 1" in files["README.md"]
    assert len(analog_layers(from_pretrained(tmp_path / "out"))) == 8


def test_export_of_no_run_is_explained(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path), "--out", str(tmp_path / "out")])
    assert "is not the folder of a run" in capsys.readouterr().err


def test_shipped_checkpoint_is_pulled_by_name(tmp_path, capsys):
    main(["pull", "resnet8_digits", "--out", str(tmp_path / "copy")])
    assert "8 analog layers, all files as published" in re.sub(r"\s+", " ", capsys.readouterr().out)
    assert len(contents(tmp_path / "copy")) == 5


@pytest.mark.filterwarnings("ignore:.*content=.*:DeprecationWarning")
@NEEDS_HUB_1
def test_pushed_checkpoint_is_pulled_again(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    main(["pull", "resnet8_digits", "--out", str(tmp_path / "first"), "--traceback"])
    main(["push", str(tmp_path / "first"), "me/digits", "--traceback"])
    main(["pull", "me/digits", "--out", str(tmp_path / "second"), "--traceback"])
    assert contents(tmp_path / "second") == contents(tmp_path / "first")

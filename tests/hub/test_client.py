"""Downloads and uploads through the real client against a hub on the loopback address."""

import pytest

from aimc_lightning.hub.client import download, push_to_hub
from aimc_lightning.hub.folder import save_pretrained, verify_checkpoint
from tests.helpers.checkpoints import contents, make_module
from tests.helpers.hub_server import NEEDS_HUB_1

# The client uploads with an argument that its HTTP library is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:.*content=.*:DeprecationWarning")

ID = "someone/tied"
ALL = {"README.md", "config.json", "eval/drift.csv", "model.safetensors", "recipe.yaml"}


@pytest.fixture
def fetch(hub, tmp_path):
    """Function that downloads from the hub into a cache of its own."""

    def call(**options):
        options.setdefault("cache_dir", tmp_path / "cache")
        return download(ID, endpoint=hub.url, **options)

    return call


def kept(tmp_path):
    """Return the files that the cache holds of the repository."""
    folder = tmp_path / "cache" / "models--someone--tied"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_download_brings_config_and_weights_as_published(hub, fetch, checkpoint):
    published = contents(checkpoint)
    hub.commit(ID, published)
    found = contents(fetch())
    assert found == {name: published[name] for name in ("config.json", "model.safetensors")}


def test_second_download_fetches_nothing(hub, fetch, checkpoint):
    hub.commit(ID, contents(checkpoint))
    fetch()
    hub.requests.clear()
    fetch()
    assert {path.split("/")[1] for _, path, _ in hub.requests} == {"api"}


def test_everything_brings_card_recipe_and_scores(hub, fetch, checkpoint):
    hub.commit(ID, contents(checkpoint))
    assert set(contents(fetch(everything=True))) == ALL


def test_revision_chooses_the_checkpoint(hub, fetch, checkpoint, tmp_path):
    first = hub.commit(ID, contents(checkpoint))
    other = save_pretrained(make_module(seed=1), tmp_path / "other")
    hub.commit(ID, contents(other))
    hub.refs[ID]["v1"] = first
    assert contents(fetch(revision="v1")) == contents(fetch(revision=first))
    assert contents(fetch())["model.safetensors"] == (other / "model.safetensors").read_bytes()


def test_cached_checkpoint_loads_without_network(hub, fetch, checkpoint):
    hub.commit(ID, contents(checkpoint))
    folder = fetch()
    hub.requests.clear()
    assert fetch(local_files_only=True) == folder
    assert hub.requests == []


def test_cached_checkpoint_is_used_when_the_hub_is_down(hub, fetch, checkpoint):
    hub.commit(ID, contents(checkpoint))
    folder = fetch()
    hub.faults["/api/"] = "500"
    assert fetch() == folder


@NEEDS_HUB_1
def test_interrupted_body_goes_on_where_it_stopped(hub, fetch, checkpoint):
    hub.commit(ID, contents(checkpoint))
    hub.faults["/objects/"] = "once"
    assert verify_checkpoint(fetch())
    assert [wanted for _, path, wanted in hub.requests if "/objects/" in path][-1] is not None


@pytest.mark.parametrize(
    ("path", "fault", "error", "says"),
    [
        ("/api/", "stall", ConnectionError, "Finding someone/tied.*again later"),
        ("/api/", "500", ConnectionError, "the hub answers 500.*HF_ENDPOINT"),
        ("/api/", "404", FileNotFoundError, "the hub answers 404.*Check the spelling"),
        ("config.json", "stall", ConnectionError, "Downloading config.json of someone/tied"),
        ("config.json", "wrong", ValueError, "config.json is truncated or damaged"),
        ("config.json", "truncate", ConnectionError, "Downloading config.json"),
        ("model.safetensors", "stall", ConnectionError, "Downloading model.safetensors.*later"),
        ("model.safetensors", "404", FileNotFoundError, "model.safetensors.*answers 404"),
        ("model.safetensors", "500", ConnectionError, "model.safetensors.*the hub answers 500"),
        ("/objects/", "stall", ConnectionError, "Downloading model.safetensors.*network"),
        ("/objects/", "500", ConnectionError, "Downloading model.safetensors.*answers 500"),
        ("/objects/", "truncate", ConnectionError, "Downloading model.safetensors"),
        ("/objects/", "wrong", ValueError, "model.safetensors .* has sha256 .*removed from the"),
    ],
)
def test_fault_of_the_hub_is_explained_and_leaves_the_cache_clean(
    hub, fetch, checkpoint, tmp_path, path, fault, error, says
):
    hub.commit(ID, contents(checkpoint))
    hub.faults[path] = fault
    with pytest.raises(error, match=says):
        fetch()
    assert kept(tmp_path) == []


def test_failed_update_leaves_the_older_checkpoint_usable(hub, fetch, checkpoint, tmp_path):
    hub.commit(ID, contents(checkpoint))
    folder, before = fetch(), kept(tmp_path)
    hub.commit(ID, contents(save_pretrained(make_module(seed=1), tmp_path / "other")))
    hub.faults["/objects/"] = "wrong"
    with pytest.raises(ValueError, match="has sha256"):
        fetch()
    assert kept(tmp_path) == before
    assert fetch(local_files_only=True) == folder


def test_config_of_another_checkpoint_is_refused(hub, fetch, checkpoint, tmp_path):
    other = save_pretrained(make_module(seed=1), tmp_path / "other")
    hub.commit(ID, {**contents(checkpoint), "config.json": (other / "config.json").read_bytes()})
    with pytest.raises(ValueError, match="belongs to another config"):
        fetch()
    assert kept(tmp_path) == []


def test_damaged_cache_is_dropped_and_fetched_anew(hub, fetch, checkpoint):
    hub.commit(ID, contents(checkpoint))
    weights = (fetch() / "model.safetensors").resolve()
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + b"x")
    with pytest.raises(ValueError, match="removed from the cache"):
        fetch()
    assert (fetch() / "model.safetensors").read_bytes() == good


@pytest.mark.parametrize(
    ("options", "says"),
    [({"revision": "v9"}, "'v9'.*answers 404"), ({"local_files_only": True}, "never downloaded")],
)
def test_missing_revision_or_cache_is_explained(hub, fetch, checkpoint, options, says):
    hub.commit(ID, contents(checkpoint))
    with pytest.raises(FileNotFoundError, match=says):
        fetch(**options)


@NEEDS_HUB_1
def test_push_sends_the_checkpoint_and_nothing_else(hub, fetch, checkpoint):
    (checkpoint / "notes.txt").write_text("mine")
    commit = push_to_hub(checkpoint, ID, endpoint=hub.url, token="hf_test")
    assert set(hub.commits[ID][commit]) == ALL
    found = contents(fetch(revision=commit, everything=True))
    assert found == {name: text for name, text in contents(checkpoint).items() if name in ALL}


@NEEDS_HUB_1
def test_push_to_a_branch_leaves_main_alone(hub, checkpoint):
    commit = push_to_hub(checkpoint, ID, revision="v2", endpoint=hub.url, token="hf_test")
    assert hub.refs[ID]["v2"] == commit
    assert "main" not in hub.refs[ID]


def test_push_refuses_a_damaged_checkpoint_before_sending(hub, checkpoint):
    (checkpoint / "recipe.yaml").write_text("seed: 2\n")
    with pytest.raises(ValueError, match="recipe.yaml .* has sha256"):
        push_to_hub(checkpoint, ID, endpoint=hub.url, token="hf_test")
    assert hub.requests == []


def test_refused_push_is_explained(hub, checkpoint):
    hub.faults["/api/repos"] = "500"
    with pytest.raises(ConnectionError, match="Publishing .* as someone/tied failed"):
        push_to_hub(checkpoint, ID, endpoint=hub.url, token="hf_test")

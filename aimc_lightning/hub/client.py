"""Checkpoints from and to a hub through ``huggingface_hub``; a failed download leaves no trace.

``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` are honoured by that client, which
reads them when it is imported.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from aimc_lightning.hub.config_file import CONFIG_FILE, WEIGHTS_FILE, read_config
from aimc_lightning.hub.folder import CARD_FILE, verify_checkpoint
from aimc_lightning.hub.weights import read_checked

#: Seconds without an answer after which a hub counts as not reachable.
TIMEOUT_S = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    endpoint: str | None = None,
    everything: bool = False,
) -> Path:
    """Fetch a checkpoint into the client's cache, and check it.

    All files are of one commit. What is in the cache already is not fetched again; if the hub
    cannot be reached, the cached files of the same revision are used.

    Args:
        repo_id: ``owner/name``.
        revision: Branch, tag or commit; ``None`` is the main branch.
        cache_dir: Cache of the client; ``None`` is its usual one.
        local_files_only: Whether to stay away from the network.
        token: Access token for private repositories; ``None`` takes the stored one.
        endpoint: Address of the hub; ``None`` is the client's.
        everything: Whether to fetch model card, recipe and scores, too.

    Returns:
        The folder in the cache with the files.

    Raises:
        ConnectionError: If the hub does not answer, answers with an error, or sends too little.
        FileNotFoundError: If there is no such repository, revision or file.
        ValueError: If what came is not what was published; the cache is as it was before.
    """
    hub = _Hub(repo_id, Path(cache_dir or constants.HF_HUB_CACHE), token, endpoint)
    name = revision or constants.DEFAULT_REVISION
    commit = hub.commit(name, local_files_only)
    with hub.clean_cache():
        config = hub.file(CONFIG_FILE, commit, local_files_only)
        with hub.drop_damaged(config):
            read = read_config(config)
        weights = hub.file(WEIGHTS_FILE, commit, local_files_only)
        with hub.drop_damaged(config, weights):
            read_checked(weights, str(read["weights"].get("sha256")))
        for other in [*read["files"], CARD_FILE] if everything else []:
            hub.file(other, commit, local_files_only)
        if everything:
            verify_checkpoint(config.parent)
        hub.remember(name, commit)
    return config.parent


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool = False,
    token: str | bool | None = None,
    message: str = "Add checkpoint",
    endpoint: str | None = None,
) -> str:
    """Publish a checkpoint folder; it is checked first, and only its own files are sent.

    Args:
        folder: Written by ``save_pretrained``.
        repo_id: ``owner/name``; the repository is made if there is none.
        revision: Branch; ``None`` is the main branch.
        private: Whether a new repository is private.
        token: Token with the right to write; ``None`` takes the stored one.
        message: Title of the commit.
        endpoint: Address of the hub; ``None`` is the client's.

    Returns:
        The commit that holds the files, as 40 hexadecimal digits: pin it when loading.

    Raises:
        ConnectionError: If the hub refuses or cannot be reached.
        FileNotFoundError: If the folder holds no checkpoint.
        ValueError: If a file of the folder is damaged; nothing is sent.
    """
    config = verify_checkpoint(folder)
    api = huggingface_hub.HfApi(endpoint=endpoint, token=token)
    files = [CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, *config["files"]]
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=str(folder),
            allow_patterns=files,
            revision=revision,
            commit_message=message,
        )
    except Exception as error:
        raise _explained(error, f"Publishing {folder} as {repo_id}") from error
    return str(commit.oid)


class _Hub:
    """One repository on a hub, and its part of the client's cache."""

    def __init__(
        self, repo_id: str, cache: Path, token: str | bool | None, endpoint: str | None
    ) -> None:
        self.repo_id, self.cache, self.token, self.endpoint = repo_id, cache, token, endpoint
        self.folder = cache / f"models--{repo_id.replace('/', '--')}"

    def commit(self, revision: str, local_files_only: bool) -> str:
        """Return the commit that a branch or tag stands for, on the hub or at the last download."""
        if _COMMIT.fullmatch(revision):
            return revision
        known = self.folder / "refs" / revision
        if local_files_only or constants.HF_HUB_OFFLINE:
            if not known.is_file():
                raise self._not_cached(CONFIG_FILE, revision)
            return known.read_text(encoding="utf-8").strip()
        try:
            api = huggingface_hub.HfApi(endpoint=self.endpoint, token=self.token)
            found = api.model_info(self.repo_id, revision=revision, timeout=TIMEOUT_S)
            return str(found.sha)
        except Exception as error:
            explained = _explained(error, f"Finding {self.repo_id} at revision {revision!r}")
            if isinstance(explained, ConnectionError) and known.is_file():
                return known.read_text(encoding="utf-8").strip()
            raise explained from error

    def file(self, name: str, commit: str, local_files_only: bool) -> Path:
        """Return a file of a commit, from the cache if it is there."""
        try:
            return self._cached(name, commit)
        except LocalEntryNotFoundError as error:
            if local_files_only or constants.HF_HUB_OFFLINE:
                raise self._not_cached(name, commit) from error
        try:
            # The client would ask for ten minutes; a hub that does not answer this will not answer.
            huggingface_hub.get_hf_file_metadata(
                huggingface_hub.hf_hub_url(
                    self.repo_id, name, revision=commit, endpoint=self.endpoint
                ),
                token=self.token,
                timeout=TIMEOUT_S,
            )
            found = huggingface_hub.hf_hub_download(
                self.repo_id,
                name,
                revision=commit,
                cache_dir=self.cache,
                token=self.token,
                endpoint=self.endpoint,
            )
        except Exception as error:
            raise _explained(error, f"Downloading {name} of {self.repo_id}") from error
        return Path(found)

    def _not_cached(self, name: str, revision: str) -> FileNotFoundError:
        return FileNotFoundError(
            f"{name} of {self.repo_id} at revision {revision!r} was never downloaded to "
            f"{self.cache}, and the network is not to be used (local_files_only or "
            "HF_HUB_OFFLINE). Load it once with a network, or give the folder of a checkpoint."
        )

    def _cached(self, name: str, commit: str) -> Path:
        found = huggingface_hub.hf_hub_download(
            self.repo_id, name, revision=commit, cache_dir=self.cache, local_files_only=True
        )
        return Path(found)

    @contextmanager
    def clean_cache(self) -> Iterator[None]:
        """Remove what was added to the repository's cache if the body fails."""
        before = self._contents()
        try:
            yield
        except BaseException:
            for path in sorted(self._contents() - before, reverse=True):  # files before folders
                if path.is_symlink() or not path.is_dir():
                    path.unlink(missing_ok=True)
                elif not any(path.iterdir()):
                    path.rmdir()
            raise

    @contextmanager
    def drop_damaged(self, *paths: Path) -> Iterator[None]:
        """Remove cached files that turn out damaged, so that the next call fetches them anew."""
        try:
            yield
        except ValueError as error:
            for path in paths:
                path.resolve().unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            raise ValueError(
                f"{self.repo_id}: {error} The copy was removed from the cache; if this happens "
                "again, the files on the hub do not belong together: name another revision."
            ) from error

    def remember(self, revision: str, commit: str) -> None:
        """Note in the cache what a branch or tag stood for, for use without a network."""
        if not _COMMIT.fullmatch(revision):
            note = self.folder / "refs" / revision
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(commit, encoding="utf-8")

    def _contents(self) -> set[Path]:
        return {self.folder, *self.folder.rglob("*")} if self.folder.exists() else set()


def _explained(error: BaseException, action: str) -> Exception:
    """Return an error that says what failed and what to do, of a class that callers know."""
    if isinstance(error, HFValidationError):
        return ValueError(f"{action} failed: {error}. A hub id must be 'owner/name'.")
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    status = getattr(response, "status_code", None)
    if status == 404:
        return FileNotFoundError(
            f"{action} failed: the hub answers 404, there is no such repository, revision or file. "
            "Check the spelling; a private repository needs a token."
        )
    if status in (401, 403):
        return ConnectionError(
            f"{action} failed: the hub answers {status}, access is refused. Give a token with "
            "token=... or 'hf auth login'; a gated repository has to be accepted on its page."
        )
    if isinstance(error, LocalEntryNotFoundError):
        error = error.__cause__ or error  # what the network said
    reason = f"the hub answers {status}" if status else f"{type(error).__name__}: {error}"
    return ConnectionError(
        f"{action} failed: {reason}. Nothing was kept; check the network and HF_ENDPOINT, and try "
        "again later."
    )

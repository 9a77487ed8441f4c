"""The folder of one run: which run it holds, which stages are done, and where files lie."""

import json
import os
from collections.abc import Collection
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aimc_lightning.recipes.manifest import (
    FORMAT,
    MANIFEST,
    check_resumed,
    check_same_run,
    read_manifest,
    take_chips,
)


class RunFolder:
    """One run on disk; :meth:`open` refuses a folder that holds another run.

    Attributes:
        path: The folder.
        stages: What is known of each finished stage, by name; plain numbers and strings.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], lock: FileLock | None = None) -> None:
        self.path = path
        self._manifest = manifest
        self._lock = lock  # held as long as this object lives, and no longer than the process

    @classmethod
    def open(
        cls,
        path: Path,
        identity: dict[str, Any],
        *,
        resume: bool,
        stages: Collection[str] | None = None,
    ) -> "RunFolder":
        """Claim a folder for a run, and for this process; nothing is written if that fails.

        Args:
            path: Folder of the run; made if it does not exist.
            identity: What makes this run different from others: recipe, seed, settings. Plain
                strings and numbers.
            resume: Whether to continue a run of the same identity; it may measure other ``chips``
                than so far, whose rows are kept.
            stages: Stages that are to measure other ``chips``; the rest stay done with the chips
                they have. None means all.

        Returns:
            The folder, with the manifest written.

        Raises:
            FileExistsError: If the folder holds another run, this run without ``resume``, this run
                with more chips, or files that are not a run.
            BlockingIOError: If another process works on this run.
            ValueError: If its manifest cannot be read.
        """
        manifest = read_manifest(path)
        if manifest is None:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise FileExistsError(
                    f"{str(path)!r} exists and is not the folder of a run: give another with --out."
                )
            manifest = {"format": FORMAT, "identity": identity, "stages": {}, "sessions": []}
        else:
            check_same_run(path, manifest, identity)
            check_resumed(path, manifest, resume)
            take_chips(path, manifest, identity, stages)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, manifest, _lock(path))
        folder._write()
        return folder

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Return the run that a folder holds; nothing is written.

        Args:
            path: Folder of a run, finished or not.

        Returns:
            The folder.

        Raises:
            FileNotFoundError: If the folder holds no run.
            ValueError: If its manifest cannot be read.
        """
        manifest = read_manifest(path)
        if manifest is None:
            raise FileNotFoundError(
                f"{str(path)!r} is not the folder of a run, it has no {MANIFEST}: give a folder "
                "made by 'aimc-lightning run RECIPE --out FOLDER'."
            )
        return cls(path, manifest)

    @property
    def command(self) -> str:
        """The command line that repeats the run, with names for the user's own paths."""
        return self._command(self.identity.get("chips"))

    def command_of(self, stage: str) -> str:
        """Return the command line that measures a stage on the chips that it was measured on."""
        asked = self.identity.get("chips")
        return self._command(None if asked is None else self.stages[stage].get("chips", asked))

    def _command(self, chips: int | None) -> str:
        parts = ["aimc-lightning run", self.identity["recipe"]]
        places = {"data": "--data DIR", "weights": "--weights FILE"}
        parts += [text for key, text in places.items() if self.identity.get(key) is not None]
        for key in ("task", "chips", "seed"):
            value = chips if key == "chips" else self.identity.get(key)
            if value is not None:
                parts.append(f"--{key} {value}")
        if self.identity.get("recalibrate"):
            parts.append(f"--recalibrate {' '.join(self.identity['recalibrate'])}")
        parts += [f"--set {_shown(setting)}" for setting in self.identity.get("settings", [])]
        return " ".join(parts)

    @property
    def identity(self) -> dict[str, Any]:
        """Return what makes this run different from others, as given to :meth:`open`."""
        return self._manifest["identity"]

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """When, where, by which command and with which versions the run was worked on."""
        return self._manifest.get("sessions", [])

    @property
    def versions(self) -> dict[str, str]:
        """Versions with which the run began; empty if no work on it began."""
        return self.sessions[0]["versions"] if self.sessions else {}

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Results of the finished stages."""
        return self._manifest["stages"]

    def trained_checkpoint(self) -> Path:
        """Return the checkpoint of the retrained network.

        Raises:
            FileNotFoundError: If the run is not so far.
        """
        trained = self.path / "hwa" / "trained.ckpt"
        if "digital" not in self.stages or not trained.is_file():
            raise FileNotFoundError(
                f"{str(self.path)!r} holds no trained network: finish the run with "
                "'aimc-lightning run ... --resume' first."
            )
        return trained

    def start_session(self, versions: dict[str, str], hardware: str, command: list[str]) -> None:
        """Note when, where, by which command and with which versions work on the run began."""
        session = session_record(versions, hardware, " ".join(command))
        self._manifest["sessions"].append(session)
        self._write()

    def add_seconds(self, name: str, seconds: float) -> None:
        """Count time spent on a stage, finished or not."""
        spent = self._manifest.setdefault("seconds", {})
        spent[name] = round(spent.get(name, 0.0) + seconds, 1)
        self._write()

    def finish_stage(self, name: str, result: dict[str, Any]) -> None:
        """Mark a stage as done, with what is to be known of it later and its seconds so far."""
        seconds = self._manifest.get("seconds", {}).get(name, 0.0)
        self._manifest["stages"][name] = {**result, "seconds": seconds}
        self._write()

    def finish(self) -> None:
        """Mark the whole run as done."""
        self._manifest["finished"] = True
        self._write()

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return bool(self._manifest.get("finished"))

    def changed_versions(self, versions: dict[str, str]) -> list[str]:
        """Return what differs from the versions that the run began with, in words."""
        first = self.versions
        if not first:
            return []
        return [
            f"{name} {first.get(name)} is now {versions.get(name)}"
            for name in sorted(set(first) | set(versions))
            if first.get(name) != versions.get(name)
        ]

    def _write(self) -> None:
        write_atomically(self.path / MANIFEST, json.dumps(self._manifest, indent=2) + "\n")


def _shown(setting: str) -> str:
    key, _, value = setting.partition("=")
    return f"{key}=PATH" if Path(value).is_absolute() else setting


def _lock(path: Path) -> FileLock | None:
    """Return a lock on a folder that other processes do not get; the system drops it in a crash."""
    lock = FileLock(path / "run.lock", timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(
            f"another process is at work in {str(path)!r}: wait until it ends, or give another "
            "folder with --out."
        ) from error
    except NotImplementedError:  # this file system has no locks
        return None
    return lock


def session_record(versions: dict[str, str], hardware: str, command: str) -> dict[str, Any]:
    """Return what is kept of a session that begins now.

    Args:
        versions: Versions by name.
        hardware: The machine in words.
        command: Command line.
    """
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "hardware": hardware,
        "versions": versions,
    }


def finished_stages(path: Path) -> list[str]:
    """Return the stages that are done in a folder, none if it holds no run.

    Args:
        path: Folder of the run; it need not exist.

    Raises:
        ValueError: If its manifest cannot be read.
    """
    manifest = read_manifest(path)
    return [] if manifest is None else list(manifest["stages"])


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a kill leaves either the old or the new one.

    Args:
        path: File to write.
        text: Its whole content.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)

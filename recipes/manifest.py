"""The file that says what a run folder holds, and whether a run may go on there."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from aimc_lightning.evaluation.rows import RowFile

FORMAT = 1
MANIFEST = "run.json"


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder, or None if it holds no run."""
    file = path / MANIFEST
    if not file.is_file():
        return None
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        found = manifest["format"]
        complete = isinstance(manifest["identity"], dict) and isinstance(manifest["stages"], dict)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(file)!r} is damaged ({error}): delete the folder or give another with --out."
        ) from error
    if found != FORMAT or not complete:
        raise ValueError(
            f"{str(file)!r} has format {found}, this version reads {FORMAT}: give another folder "
            "with --out, or use the version that wrote it."
        )
    return manifest


def check_same_run(path: Path, manifest: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise if the folder belongs to a run of another identity."""
    held = manifest["identity"]
    different = [
        f"{key} {held.get(key)!r} instead of {identity.get(key)!r}"
        for key in sorted((set(held) | set(identity)) - {"chips"})
        if held.get(key) != identity.get(key)
    ]
    if different:
        raise FileExistsError(
            f"{str(path)!r} holds another run ({'; '.join(different)}): give another folder with "
            "--out, or delete this one."
        )


def take_chips(
    path: Path,
    manifest: dict[str, Any],
    identity: dict[str, Any],
    wanted: Collection[str] | None,
) -> None:
    """Let the wanted stages measure another number of chips; raise if they have more already."""
    chips, before = identity.get("chips"), manifest["identity"].get("chips")
    done = {name: stage["chips"] for name, stage in manifest["stages"].items() if "chips" in stage}
    # Without --chips the recipe's own number counts, which is not known here.
    again = [
        name
        for name in done
        if (wanted is None or name in wanted)
        and (before is not None if chips is None else chips != done[name])
    ]
    most = None if chips is None else max([chips, *done.values()])
    if most == before and not again:
        return
    rows = RowFile(path / "drift.csv").rows
    chosen = [row for row in rows if wanted is None or row.stage.partition("+")[0] in wanted]
    measured = max((row.chip + 1 for row in chosen), default=0)
    if chips is not None and chips < measured:
        raise FileExistsError(
            f"{str(path)!r} holds results of {measured} chips, more than --chips {chips}: give "
            f"--chips {measured} or more, or another folder with --out."
        )
    manifest["identity"]["chips"] = most
    # They measure again, on the further chips alone: rows are kept.
    for name in again:
        del manifest["stages"][name]
    manifest.pop("finished", None)


def check_resumed(path: Path, manifest: dict[str, Any], resume: bool) -> None:
    """Raise if the run of a folder was not asked to be resumed."""
    if resume:
        return
    if manifest.get("finished"):
        raise FileExistsError(
            f"{str(path)!r} holds this run, finished: add --resume to see its table again, give "
            "another folder with --out, or delete this one to run anew."
        )
    done = ", ".join(manifest["stages"]) or "none"
    raise FileExistsError(
        f"{str(path)!r} holds this run, unfinished (stages done: {done}): add --resume to continue "
        "it, give another folder with --out, or delete this one to run anew."
    )

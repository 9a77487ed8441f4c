"""A tiny text in a zip file, in which each word tells the next."""

import zipfile
from collections.abc import Sequence
from pathlib import Path


def write_text(path: Path, members: Sequence[str], words: int) -> Path:
    """Write the members, each with about ``words`` words, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for member in members:
            archive.writestr(member, "a b c d\n" * (words // 5))
    return path

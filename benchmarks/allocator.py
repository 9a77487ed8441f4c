"""Keep freed memory, for plain torch and for ours alike: fresh memory is slow on many machines."""

import os
import sys

_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}


def restart_with_kept_memory() -> None:
    """Start the running script anew with these settings, unless it has them; before torch."""
    if any(os.environ.get(key) != value for key, value in _SETTINGS.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **_SETTINGS})

"""Progress bars that are drawn while something else than their loop runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import RichProgressBar


@contextmanager
def silent_bars(callbacks: Sequence[Callback]) -> Iterator[list[Callback]]:
    """Keep bars of rich from counting, and yield them: the Trainer still needs them.

    A thread draws them all the time, and their columns ask the Trainer for its bar. Without one the
    thread ends with an error.
    """
    bars = [callback for callback in callbacks if isinstance(callback, RichProgressBar)]
    counting = [bar for bar in bars if bar.is_enabled]
    for bar in counting:
        bar.disable()
    try:
        yield list(bars)
    finally:
        for bar in counting:
            bar.enable()

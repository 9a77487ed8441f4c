"""Compiling CPU kernels with numba, and running them on the threads that torch itself uses."""

import ctypes
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from numba import njit

#: Elements below which a second thread costs more than it saves.
SERIAL_ELEMENTS = 1 << 15
_PIECES_PER_THREAD = 4  # so that a thread that is held up does not hold up the others


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function over plain arrays on its first call; it then runs without Python's lock.

    Machine code is kept on disk where that is possible.

    Example:
        >>> int(kernel(lambda n: n + 1)(1))
        2
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no place for its cache: no such file, or nowhere to write
        return njit(nogil=True)(function)


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function as part of the kernels that call it; it rounds as torch does.

    Example:
        >>> int(part(lambda n: n + 1)(1))
        2
    """
    return njit(nogil=True)(function)


def scalar(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function of numbers as part of the loops that call it.

    A product and a sum may round once. LLVM makes vector code only of a loop whose calls are gone.

    Example:
        >>> int(scalar(lambda n: n + 1)(1))
        2
    """
    return njit(forceinline=True, fastmath={"contract", "nsz"})(function)


def run_in_threads(work: Callable[[int, int], object], blocks: int, elements: int) -> None:
    """Call ``work(first, last)`` for pieces that together cover ``range(blocks)``.

    The number of threads is ``torch.get_num_threads()``. What ``work`` does with a block must not
    depend on the piece it comes in.

    Args:
        work: Works on blocks ``first`` to ``last - 1``.
        blocks: Number of blocks.
        elements: Size of the whole, to decide whether threads pay.

    Example:
        >>> pieces = []
        >>> run_in_threads(lambda first, last: pieces.append((first, last)), 3, elements=10)
        >>> pieces
        [(0, 3)]
    """
    threads = min(torch.get_num_threads(), blocks)
    if threads == 1 or elements < SERIAL_ELEMENTS:
        work(0, blocks)
        return
    count = min(blocks, threads * _PIECES_PER_THREAD)
    pieces = [(blocks * i // count, blocks * (i + 1) // count) for i in range(count)]
    job = _Job(work, pieces)
    _team()(job, threads)
    if job.error is not None:
        raise job.error
    if len(job.finished) != count:  # an interrupt hit the few instructions that cannot report it
        raise KeyboardInterrupt


class _Job:
    """Pieces of work that threads take one after the other."""

    def __init__(self, work: Callable[[int, int], object], pieces: list[tuple[int, int]]) -> None:
        self.work, self.pieces = work, pieces
        self.finished: list[int] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        """Take pieces until none is left."""
        while True:
            try:
                first, last = self.pieces.pop()  # one step for Python, so no piece is taken twice
            except IndexError:
                return
            try:
                self.work(first, last)
                self.finished.append(first)
            except BaseException as error:  # must not pass through the C frames of OpenMP
                self.error = error


_Team = Callable[[_Job, int], None]
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.py_object)
_run_job = _CALLBACK(_Job.run)


@functools.cache
def _torch_team() -> _Team | None:
    """Return OpenMP as torch has loaded it, or ``None`` if its parallel region cannot be called.

    Its threads keep spinning for milliseconds after each of torch's own operations, so other
    threads would have to share the cores with them.
    """
    try:
        parallel = ctypes.CDLL(torch._C.__file__).GOMP_parallel
    except (AttributeError, OSError):
        return None
    parallel.argtypes = (_CALLBACK, ctypes.py_object, ctypes.c_uint, ctypes.c_uint)
    parallel.restype = None
    return lambda job, threads: parallel(_run_job, job, threads, 0)


@functools.cache
def _own_team(pid: int) -> _Team:
    # Threads do not survive a fork (data loaders, ddp_fork), so each process has its own.
    pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix=f"aimc-kernel-{pid}")

    def run(job: _Job, threads: int) -> None:
        helpers = [pool.submit(job.run) for _ in range(threads - 1)]
        job.run()
        for helper in helpers:
            helper.result()

    return run


def _team() -> _Team:
    # OpenMP's own threads do not survive a fork either, and it would wait for them forever.
    team = None if _forked else _torch_team()
    return _own_team(os.getpid()) if team is None else team


_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)

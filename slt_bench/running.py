"""Locks in the user's temporary folder, by which one slt-bench process knows of another.

A matrix of trials that runs would spoil a timing, and so would a second timing. The locks are the
kernel's (``flock``): they go away with the process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Busy(RuntimeError):
    """Another process holds the lock."""


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"slt-bench-{os.getuid()}"


@contextmanager
def _locked(name: str, mode: int) -> Iterator[None]:
    _folder().mkdir(mode=0o700, exist_ok=True)
    with (_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, mode)
        yield


@contextmanager
def matrix() -> Iterator[None]:
    """Held while trials run; any number of matrices may run at a time.

    Where there is no temporary folder to write to, the trials run unmarked.
    """
    lock = _locked("matrix", fcntl.LOCK_SH)
    held = False
    with suppress(OSError):
        lock.__enter__()
        held = True
    try:
        yield
    finally:
        if held:
            lock.__exit__(None, None, None)


def matrix_runs() -> bool:
    """Whether a matrix of this user is running on this machine."""
    try:
        with _locked("matrix", fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


@contextmanager
def timing() -> Iterator[None]:
    """Held while times are measured.

    Raises:
        Busy: another timing of this user is running on this machine.
    """
    lock = _locked("timing", fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        lock.__enter__()
    except BlockingIOError:
        raise Busy("another 'slt-bench time' is running: wait until it has ended") from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)

"""What every process that this tool starts has in common: how it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def die_with_parent() -> None:
    """End this process as soon as the one that started it has ended, however that ended."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def death(exitcode: int | None) -> str:
    """How a process ended that gave no result."""
    if exitcode is None or exitcode >= 0:
        return f"the process ended with exit code {exitcode} and no result"
    return f"the process was ended by {signal.Signals(-exitcode).name}"

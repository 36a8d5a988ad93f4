"""Fresh processes, forked from a server that has torch imported and no CUDA."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from slt_bench import processes
from slt_bench.runner import one_line

#: Imported once, before the first fork. Every optimiser imports torch._dynamo: 2 s of a core.
_PRELOAD = ["slt_bench.rehearsal", "torch._dynamo"]
#: Read by glibc when the server starts: freed blocks are kept, not given back and faulted in again
#: at each update (up to a fifth of the time of an update where activations are large).
_ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**27),
    "MALLOC_TOP_PAD_": str(2**26),
}
#: Seconds without a word after which a job is taken to hang; a kernel may be built for two minutes.
PATIENCE = 180.0


def context() -> BaseContext:
    """What processes are started from; its server starts with the first of them."""
    for name, value in _ALLOCATOR.items():
        os.environ.setdefault(name, value)
    method = "spawn" if sys.platform == "win32" else "forkserver"
    found = multiprocessing.get_context(method)
    if method == "forkserver":
        found.set_forkserver_preload(_PRELOAD)
    return found


def settle_in() -> None:
    """The first thing that a fresh process does."""
    os.dup2(2, 1)  # what a layer prints must not mix with the document on standard output
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.die_with_parent()


def death(exitcode: int | None) -> str:
    """How a process ended that gave no result."""
    killed = exitcode == -signal.SIGKILL
    why = " (the system may have run out of memory)" if killed else ""
    return processes.death(exitcode) + why


class Lost(Exception):
    """A job gave no result: what it raised, or how its process ended."""


class Voice:
    """By it a job in another process speaks to the one that asked for it.

    ``asked`` is when the job was asked for, by ``time.monotonic()``.
    """

    def __init__(self, sender: Connection, asked: float) -> None:
        self._sender = sender
        self.asked = asked

    def say(self, what: Any) -> None:
        with suppress(OSError):  # nobody listens: the other thread ends this process
            self._sender.send(("said", what))


@dataclass
class _Call:
    number: int
    process: BaseProcess
    messages: Connection
    heard: float


def each(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    *,
    at_a_time: int = 1,
    hear: Callable[[int, Any], None] = lambda number, said: None,
    until: float | None = None,
    patience: float = PATIENCE,
) -> dict[int, Any]:
    """Run ``function(voice, *job)`` for each job, in a fresh process each.

    Args:
        hear: is called with the number of a job and what it says.
        until: value of ``time.monotonic()`` from which no further job starts.
        patience: seconds after which a job that says nothing is killed.

    Returns:
        by number of the job what the function gave, or a ``Lost``; nothing where it never started.
    """
    start_from = context()
    waiting = deque(enumerate(jobs))
    running: list[_Call] = []
    results: dict[int, Any] = {}
    try:
        while waiting or running:
            if until is not None and time.monotonic() >= until:
                waiting.clear()
            while waiting and len(running) < at_a_time:
                running.append(_start(start_from, function, *waiting.popleft()))
            wait([*(c.messages for c in running), *(c.process.sentinel for c in running)], 0.1)
            for call in list(running):
                over = not call.process.is_alive() or time.monotonic() - call.heard > patience
                _listen(call, hear, results)
                if over or call.number in results:
                    call.process.kill()
                    call.process.join()
                    running.remove(call)
                    call.messages.close()
                    results.setdefault(call.number, Lost(death(call.process.exitcode)))
    finally:
        for call in running:
            call.process.kill()
    return results


def _start(
    start_from: BaseContext, function: Callable[..., Any], number: int, job: tuple[Any, ...]
) -> _Call:
    receiver, sender = start_from.Pipe(duplex=False)
    asked = time.monotonic()
    process = start_from.Process(  # type: ignore[attr-defined]
        target=_work, args=(function, job, Voice(sender, asked)), daemon=True
    )
    process.start()
    sender.close()
    return _Call(number, process, receiver, time.monotonic())


def _listen(call: _Call, hear: Callable[[int, Any], None], results: dict[int, Any]) -> None:
    with suppress(EOFError, OSError):
        while call.messages.poll():
            kind, content = call.messages.recv()
            call.heard = time.monotonic()
            if kind == "said":
                hear(call.number, content)
            else:
                results[call.number] = content if kind == "result" else Lost(content)


def _work(function: Callable[..., Any], job: tuple[Any, ...], voice: Voice) -> None:
    settle_in()
    try:
        message = ("result", function(voice, *job))
    except Exception as error:
        message = ("error", one_line(error))
    voice._sender.send(message)
    voice._sender.close()

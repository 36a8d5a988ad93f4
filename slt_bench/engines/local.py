"""A fresh process for each trial, forked from a server that has torch imported and no CUDA.

Every trial has a hard deadline; a crash, a hang or a lack of memory ends that trial and no other.
Workers watch their parent and die with it. The parent alone hears Ctrl-C: it asks the workers to
stop at a checkpoint, and kills those that do not.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

import torch

from slt_bench import running
from slt_bench.engines import Order, Watcher, announce_kernels
from slt_bench.runner import DETERMINED, Ending, attempt, fail
from slt_bench.store import Store
from slt_bench.trial import Trial

#: Imported once, before the first fork. Every optimiser imports torch._dynamo: 2 s of a core.
_PRELOAD = ["slt_bench.runner", "torch._dynamo"]
#: Read by glibc when the server starts: freed blocks are kept, not given back and faulted in again
#: at each update (up to a fifth of the time of an update where activations are large).
_ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**27),
    "MALLOC_TOP_PAD_": str(2**26),
}
#: Seconds that a worker has to reach a checkpoint when it is asked to stop.
GRACE = 30.0
#: Seconds between two progress messages of a worker.
_PROGRESS_SECONDS = 0.5


@dataclass
class _Running:
    trial: Trial
    process: BaseProcess
    messages: Connection
    device: str
    started: float
    asked_to_stop: float | None = None
    result: Ending | None = None


@dataclass
class _Pool:
    order: Order
    watcher: Watcher
    context: BaseContext
    store: Store
    waiting: deque[Trial]
    devices: list[str]
    running: list[_Running] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    results: dict[str, Ending] = field(default_factory=dict)

    def run(self) -> None:
        try:
            while self.waiting or self.running:
                if self.order.out_of_time():
                    self.waiting.clear()
                    self.ask_to_stop()
                while self.waiting and self.devices:
                    self.start(self.waiting.popleft())
                self.listen()
                self.reap()
        except KeyboardInterrupt:
            self.waiting.clear()
            self.ask_to_stop()
            while self.running:
                self.listen()
                self.reap()
            raise
        finally:
            for worker in self.running:
                worker.process.kill()

    def start(self, trial: Trial) -> None:
        self.attempts[trial.key] = self.attempts.get(trial.key, 0) + 1
        receiver, sender = self.context.Pipe(duplex=False)
        device = self.devices.pop(0)
        process = self.context.Process(  # type: ignore[attr-defined]
            target=_work, args=(trial, self.order, device, sender), daemon=True
        )
        process.start()
        sender.close()
        self.watcher.started(trial)
        self.running.append(_Running(trial, process, receiver, device, time.monotonic()))

    def listen(self) -> None:
        """Wait a little for messages or ends, and take in every message that is there."""
        sources = [w.process.sentinel for w in self.running]
        wait([*sources, *(w.messages for w in self.running)], timeout=0.1)
        for worker in self.running:
            try:
                while worker.messages.poll():
                    message = worker.messages.recv()
                    if isinstance(message, Ending):
                        worker.result = message
                    else:
                        self.watcher.progress(worker.trial, *message)
            except (EOFError, OSError):
                continue

    def reap(self) -> None:
        """Finish what has ended; kill what is over its deadline."""
        now = time.monotonic()
        for worker in list(self.running):
            seconds = now - worker.started
            late = self.order.timeout is not None and seconds > self.order.timeout
            stuck = worker.asked_to_stop is not None and now - worker.asked_to_stop > GRACE
            if worker.process.is_alive() and not late and not stuck:
                continue
            timed_out = worker.process.is_alive() and late
            worker.process.kill()
            worker.process.join()
            self.listen()
            self.running.remove(worker)
            worker.messages.close()
            self.devices.append(worker.device)
            self.conclude(worker, timed_out, seconds)

    def conclude(self, worker: _Running, timed_out: bool, seconds: float) -> None:
        trial, result = worker.trial, worker.result
        if result is None and worker.asked_to_stop is not None:
            result = Ending("stopped")
        elif result is None and timed_out:
            text = f"killed after {self.order.timeout:g} s; raise --timeout"
            result = fail(trial, self.store, "timeout", text)
        elif result is None:
            result = fail(trial, self.store, "crashed", _death(worker.process.exitcode))
        failed = result.status not in ("done", "stopped", *DETERMINED)
        if failed and self.attempts[trial.key] <= self.order.retries:
            self.waiting.append(trial)
        else:
            self.results[trial.key] = result
        self.watcher.finished(trial, result, seconds)

    def ask_to_stop(self) -> None:
        for worker in self.running:
            if worker.asked_to_stop is None:
                worker.asked_to_stop = time.monotonic()
                worker.process.terminate()


def run_trials(trials: Sequence[Trial], order: Order, watcher: Watcher) -> dict[str, Ending]:
    """Run the trials, ``order.jobs`` at a time; those that never started have no entry.

    Raises:
        KeyboardInterrupt: after the workers were asked to stop and have ended.
    """
    for name, value in _ALLOCATOR.items():
        os.environ.setdefault(name, value)
    method = "spawn" if sys.platform == "win32" else "forkserver"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(_PRELOAD)
    pool = _Pool(order, watcher, context, Store(order.reports), deque(trials), _tickets(order))
    with running.matrix():  # so that nobody measures times meanwhile
        pool.run()
    return pool.results


def _tickets(order: Order) -> list[str]:
    """One device for each trial that may run at a time: on GPUs, one trial a GPU."""
    if order.device != "cuda":
        return [order.device] * (1 if order.device.startswith("cuda") else order.jobs)
    return [f"cuda:{i}" for i in range(min(order.jobs, torch.cuda.device_count()))]


def _death(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"the process ended with exit code {exitcode} and no result"
    name = signal.Signals(-exitcode).name
    why = " (the system may have run out of memory)" if name == "SIGKILL" else ""
    return f"the process was ended by {name}{why}"


def _work(trial: Trial, order: Order, device: str, messages: Connection) -> None:
    """The life of a worker process."""
    asked = threading.Event()
    os.dup2(2, 1)  # what a layer prints must not mix with the document on standard output
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    announce_kernels()
    torch.set_num_threads(order.threads)
    result = attempt(
        trial,
        Store(order.reports),
        device=device,
        data=order.data,
        checkpoint_seconds=order.checkpoint_seconds,
        stop=lambda: asked.is_set() or order.out_of_time(),
        progress=_throttled(messages),
    )
    messages.send(result)
    messages.close()


def _throttled(messages: Connection) -> Callable[[int, int, float], None]:
    last = 0.0

    def progress(done: int, total: int, loss: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _PROGRESS_SECONDS:
            last = now
            with suppress(OSError):  # the parent is gone: the other thread ends this process
                messages.send((done, total, loss))

    return progress


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

"""A fresh process for each trial, forked from a server that has torch imported and no CUDA.

Every trial has a hard deadline; a crash, a hang or a lack of memory ends that trial and no other.
Workers watch their parent and die with it. The parent alone hears Ctrl-C: it asks the workers to
stop at a checkpoint, and kills those that do not.
"""

from __future__ import annotations

import signal
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

from slt_bench import rehearsal, running
from slt_bench.engines import (
    Order,
    Prepared,
    Watcher,
    announce_kernels,
    by_task,
    prepare_here,
    shapes,
)
from slt_bench.engines._fresh import Lost, Voice, context, death, each, settle_in
from slt_bench.kernels import preparation_seconds
from slt_bench.rehearsal import Rehearsal
from slt_bench.runner import DETERMINED, Ending, attempt, fail
from slt_bench.store import Store
from slt_bench.trial import Trial

#: Seconds that a worker has to reach a checkpoint when it is asked to stop.
GRACE = 30.0
#: Seconds that a rehearsal may take at least before it is killed: a few updates are always timed.
_PATIENCE = 20.0
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
            result = fail(trial, self.store, "crashed", death(worker.process.exitcode))
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

    Before the first one kernels are built and strategies measured, with nothing beside.

    Raises:
        KeyboardInterrupt: after the workers were asked to stop and have ended.
    """
    waiting = deque(trials)
    pool = _Pool(order, watcher, context(), Store(order.reports), waiting, _tickets(order))
    with running.matrix():  # so that nobody measures times meanwhile
        prepare(trials, order, watcher)
        pool.run()
    return pool.results


def prepare(trials: Sequence[Trial], order: Order, watcher: Watcher) -> Prepared:
    """Make ready what the trials need, one shape after another; one process a task."""
    if order.device != "cpu":
        return Prepared(frozenset(t.key for t in shapes(trials)))
    start = time.monotonic()
    found = each(
        _prepare,
        [(group, order) for group in by_task(shapes(trials))],
        hear=lambda number, said: getattr(watcher, said[0])(*said[1:]),
        until=order.deadline,
    )
    watcher.preparing("")
    done = [result for result in found.values() if not isinstance(result, Lost)]
    ready = frozenset(key for keys, _ in done for key in keys)
    once = sum(seconds for _, seconds in done)
    return Prepared(ready, time.monotonic() - start - once)


def _prepare(voice: Voice, trials: Sequence[Trial], order: Order) -> tuple[list[str], float]:
    torch.set_num_threads(order.threads)
    ready = prepare_here(trials, order, _Relay(voice))
    return ready, preparation_seconds()


class _Relay:
    """A watcher's part in a preparation, in the process that prepares."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice

    def preparing(self, text: str) -> None:
        self.voice.say(("preparing", text))

    def log(self, text: str) -> None:
        self.voice.say(("log", text))


def rehearse(
    trials: Sequence[Trial], order: Order, watcher: Watcher, seconds: float, until: float
) -> dict[str, Rehearsal | str]:
    """Time a part of each trial, as many at a time as they run; else the reason why not.

    What has not begun at ``until`` (by ``time.monotonic()``) has no entry.
    """
    tickets = _tickets(order)
    jobs = [
        (trial, order, tickets[number % len(tickets)], seconds)
        for number, trial in enumerate(trials)
    ]
    found = each(
        _rehearse,
        jobs,
        at_a_time=len(tickets),
        hear=lambda number, said: watcher.preparing(
            f"rehearsing {number + 1}/{len(trials)} {trials[number].label}"
        ),
        until=until,
        patience=max(_PATIENCE, 10 * seconds),
    )
    watcher.preparing("")
    return {
        trials[number].key: str(result) if isinstance(result, Lost) else result
        for number, result in found.items()
    }


def _rehearse(voice: Voice, trial: Trial, order: Order, device: str, seconds: float) -> Rehearsal:
    voice.say("started")
    torch.set_num_threads(order.threads)
    return rehearsal.rehearse(trial, device, order.data, seconds, voice.asked)


def start_seconds() -> tuple[float, float]:
    """Seconds that the server of processes takes to start, and then a process that does nothing."""
    taken = []
    for _ in range(2):
        start = time.monotonic()
        each(_nothing, [()])
        taken.append(time.monotonic() - start)
    return max(0.0, taken[0] - taken[1]), taken[1]


def _nothing(voice: Voice) -> None:
    return None


def at_a_time(order: Order) -> int:
    """How many trials run side by side."""
    return len(_tickets(order))


def _tickets(order: Order) -> list[str]:
    """One device for each trial that may run at a time: on GPUs, one trial a GPU."""
    if order.device != "cuda":
        return [order.device] * (1 if order.device.startswith("cuda") else order.jobs)
    return [f"cuda:{i}" for i in range(min(order.jobs, torch.cuda.device_count()))]


def _work(trial: Trial, order: Order, device: str, messages: Connection) -> None:
    """The life of a worker process."""
    asked = threading.Event()
    settle_in()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
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

"""How trials are executed: ``inline`` in this process, ``local`` in a fresh process each.

An engine carries only status words. The worker publishes its own record, so that losing an engine
loses nothing finished.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from slt_bench import rehearsal
from slt_bench.errors import unknown
from slt_bench.rehearsal import Rehearsal
from slt_bench.runner import Ending
from slt_bench.training import CHECKPOINT_SECONDS
from slt_bench.trial import Trial

NAMES = ("local", "inline")
_KERNELS = "slt_bench.kernels"


@dataclass(frozen=True)
class Order:
    """How a list of trials is to be run.

    Attributes:
        reports: the reports folder that receives the records.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        data: the folder in which data sets are sought first.
        jobs: trials at a time.
        threads: threads a trial.
        timeout: seconds after which one attempt at a trial is killed.
        deadline: value of ``time.monotonic()`` at which everything stops at a checkpoint.
        retries: further attempts after a crash, a time-out or an error.
        checkpoint_seconds: seconds between checkpoints of a running trial.
    """

    reports: Path
    device: str = "cpu"
    data: Path | None = None
    jobs: int = 1
    threads: int = 1
    timeout: float | None = None
    deadline: float | None = None
    retries: int = 0
    checkpoint_seconds: float = CHECKPOINT_SECONDS

    def out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


class Preparing(Protocol):
    """Is told what is done before the first trial; shows it."""

    def preparing(self, text: str) -> None:
        """What is worked on now; an empty text: nothing any more."""

    def log(self, text: str) -> None:
        """What was done, to be kept in sight."""


class Watcher(Preparing, Protocol):
    """Is told what happens; shows it."""

    def started(self, trial: Trial) -> None: ...
    def progress(self, trial: Trial, done: int, total: int, loss: float) -> None: ...
    def finished(self, trial: Trial, ending: Ending, seconds: float) -> None: ...


@dataclass(frozen=True)
class Prepared:
    """Which trials' kernels are built and strategies measured, by key of the shape.

    ``seconds``: what going over them takes when nothing has to be built and measured any more.
    """

    ready: frozenset[str]
    seconds: float = 0.0


RunTrials = Callable[[Sequence[Trial], Order, Watcher], dict[str, Ending]]


class Engine(Protocol):
    """What a module of this package offers; ``local`` says what each function does."""

    run_trials: RunTrials
    prepare: Callable[[Sequence[Trial], Order, Preparing], Prepared]
    rehearse: Callable[
        [Sequence[Trial], Order, Preparing, float, float], dict[str, Rehearsal | str]
    ]
    start_seconds: Callable[[], tuple[float, float]]
    at_a_time: Callable[[Order], int]


def engine(name: str) -> Engine:
    """The module of an engine."""
    if name not in NAMES:
        raise unknown("engine", name, NAMES)
    return cast(Engine, import_module(f"slt_bench.engines.{name}"))


def load_engine(name: str) -> RunTrials:
    """The function ``run_trials(trials, order, watcher) -> {key: Ending}`` of an engine."""
    return engine(name).run_trials


def shapes(trials: Sequence[Trial]) -> list[Trial]:
    """The trials with seed 0, without repeats: those that differ in what they compute."""
    found: dict[str, Trial] = {}
    for trial in trials:
        shape = replace(trial, seed=0)
        found.setdefault(shape.key, shape)
    return list(found.values())


def by_task(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials in groups that share task, options, budget and dtype: they see equal batches."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        plain = replace(trial, baseline="", settings={}, slots=(), seed=0)
        found.setdefault(plain.key, []).append(trial)
    return list(found.values())


def prepare_here(trials: Sequence[Trial], order: Order, watcher: Preparing) -> list[str]:
    """Prepare trials of one group in this process; returns the keys of those that are ready."""
    with _told(watcher):
        return rehearsal.prepare(
            trials,
            order.data,
            tell=lambda trial: watcher.preparing(f"preparing {trial.label}"),
            stop=order.out_of_time,
        )


class _Teller(logging.Handler):
    def __init__(self, watcher: Preparing) -> None:
        super().__init__(logging.DEBUG)
        self.watcher = watcher

    def emit(self, record: logging.LogRecord) -> None:
        self.watcher.preparing(record.getMessage())
        if record.levelno >= logging.INFO:
            self.watcher.log(record.getMessage())


@contextmanager
def _told(watcher: Preparing) -> Iterator[None]:
    """What the kernels log goes to the watcher and nowhere else."""
    logger = logging.getLogger(_KERNELS)
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [_Teller(watcher)], False
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])


def announce_kernels() -> None:
    """Say on standard error when a kernel is compiled or a strategy measured: it takes seconds."""
    logger = logging.getLogger(_KERNELS)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("slt-bench: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)

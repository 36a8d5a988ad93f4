"""How trials are executed: ``inline`` in this process, ``local`` in a fresh process each.

An engine carries only status words. The worker publishes its own record, so that losing an engine
loses nothing finished.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from slt_bench.errors import unknown
from slt_bench.runner import Ending
from slt_bench.training import CHECKPOINT_SECONDS
from slt_bench.trial import Trial

NAMES = ("local", "inline")


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


class Watcher(Protocol):
    """Is told what happens; shows it."""

    def started(self, trial: Trial) -> None: ...
    def progress(self, trial: Trial, done: int, total: int, loss: float) -> None: ...
    def finished(self, trial: Trial, ending: Ending, seconds: float) -> None: ...


Engine = Callable[[Sequence[Trial], Order, Watcher], dict[str, Ending]]


def load_engine(name: str) -> Engine:
    """The function ``run_trials(trials, order, watcher) -> {key: Ending}`` of an engine."""
    if name not in NAMES:
        raise unknown("engine", name, NAMES)
    engine: Engine = import_module(f"slt_bench.engines.{name}").run_trials
    return engine


def announce_kernels() -> None:
    """Say on standard error when a kernel is compiled or a strategy measured: it takes seconds."""
    logger = logging.getLogger("slt_bench.kernels")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("slt-bench: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)

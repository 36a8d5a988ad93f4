"""Trials one after another in this process: for debugging. No hard deadline, no retries."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from slt_bench import rehearsal
from slt_bench.engines import (
    Order,
    Prepared,
    Watcher,
    announce_kernels,
    by_task,
    prepare_here,
    shapes,
)
from slt_bench.rehearsal import Rehearsal
from slt_bench.runner import Ending, attempt, one_line
from slt_bench.store import Store
from slt_bench.training import clock
from slt_bench.trial import Trial


def run_trials(trials: Sequence[Trial], order: Order, watcher: Watcher) -> dict[str, Ending]:
    """Run each trial; those that the deadline leaves out have no entry in the result."""
    results: dict[str, Ending] = {}
    with _threads(order.threads):
        prepare(trials, order, watcher)
        announce_kernels()
        for trial in trials:
            if order.out_of_time():
                break
            start = time.monotonic()
            watcher.started(trial)
            result = attempt(
                trial,
                Store(order.reports),
                device=order.device,
                data=order.data,
                checkpoint_seconds=order.checkpoint_seconds,
                stop=order.out_of_time,
                progress=partial(watcher.progress, trial),
            )
            results[trial.key] = result
            watcher.finished(trial, result, time.monotonic() - start)
    return results


def prepare(trials: Sequence[Trial], order: Order, watcher: Watcher) -> Prepared:
    """Build kernels and measure strategies that the trials need."""
    if order.device != "cpu":
        return Prepared(frozenset(t.key for t in shapes(trials)))
    start = clock()
    with _threads(order.threads):
        groups = by_task(shapes(trials))
        ready = [key for group in groups for key in prepare_here(group, order, watcher)]
    watcher.preparing("")
    return Prepared(frozenset(ready), clock() - start)


def rehearse(
    trials: Sequence[Trial], order: Order, watcher: Watcher, seconds: float, until: float
) -> dict[str, Rehearsal | str]:
    """Time a part of each trial; else the reason why not. Nothing begins after ``until``."""
    found: dict[str, Rehearsal | str] = {}
    with _threads(order.threads):
        for number, trial in enumerate(trials, 1):
            if time.monotonic() >= until:
                break
            watcher.preparing(f"rehearsing {number}/{len(trials)} {trial.label}")
            try:
                found[trial.key] = rehearsal.rehearse(trial, order.device, order.data, seconds)
            except Exception as error:
                found[trial.key] = one_line(error)
    watcher.preparing("")
    return found


def start_seconds() -> tuple[float, float]:
    """Nothing has to start."""
    return 0.0, 0.0


def at_a_time(order: Order) -> int:
    return 1


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

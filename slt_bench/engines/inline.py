"""Trials one after another in this process: for debugging. No hard deadline, no retries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import torch

from slt_bench.engines import Order, Watcher, announce_kernels
from slt_bench.runner import Ending, attempt
from slt_bench.store import Store
from slt_bench.trial import Trial


def run_trials(trials: Sequence[Trial], order: Order, watcher: Watcher) -> dict[str, Ending]:
    """Run each trial; those that the deadline leaves out have no entry in the result."""
    results: dict[str, Ending] = {}
    announce_kernels()
    threads = torch.get_num_threads()
    torch.set_num_threads(order.threads)
    try:
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
    finally:
        torch.set_num_threads(threads)
    return results

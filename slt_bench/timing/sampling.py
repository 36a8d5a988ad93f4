"""The protocol inside one process: warm-up, then samples until they agree."""

from __future__ import annotations

import gc
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch.utils.benchmark import Timer
from torch.utils.benchmark import timer as synchronised

from slt_bench.timing.statistics import spread


@dataclass(frozen=True)
class Protocol:
    """How much is measured in one process.

    The cap was chosen on stored samples. Where other machines share the processor, samples rarely
    agree to 2 %: in a session of 36 cells (256, 1,024 and 4,096 features, forward and training, ten
    rounds) on two such cores, 65 % of the processes went on up to a cap of 10 s. Cut to their first
    3 s, the same samples gave all 29 rows of rivals the same verdict and none too much spread to be
    published (first 2 s: two rows); the ratios moved by 1.2 % in the median and 5.4 % at most, and
    their intervals were 1.6 times as wide (5.4 % to either side, not 3.4 %), in 2.6 s a process in
    place of 7.2 s: the time that is saved buys the same precision where it is spent on more rounds.
    A session with this cap, two hours later, gave every row the same verdict, and to all layers
    whose code was the same ratios within 5 %. ``slt-bench time --cap 10s`` measures as long as
    before.

    Attributes:
        warm_up_calls, warm_up_seconds: at least so much before the first sample.
        samples, seconds, spread: sampling ends with so many samples, over so many seconds, with an
            interquartile range of at most so much of the median,
        cap: or after so many seconds.
        window: seconds before a round in which other processes are watched.
    """

    warm_up_calls: int = 3
    warm_up_seconds: float = 0.025
    samples: int = 30
    seconds: float = 0.5
    spread: float = 0.02
    cap: float = 3.0
    window: float = 2.0


@dataclass(frozen=True)
class Samples:
    """Seconds a call, one value a sample; each sample is the mean of ``calls`` calls.

    ``settled``: the samples agreed before the time ran out.
    """

    seconds: tuple[float, ...]
    calls: int
    settled: bool

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def document(self) -> dict[str, Any]:
        """JSON-able, with five digits of each sample."""
        return {
            "median": self.median,
            "spread": spread(self.seconds),
            "calls": self.calls,
            "settled": self.settled,
            "samples": [float(f"{value:.5g}") for value in self.seconds],
        }


class _Enough(Exception):
    pass


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def warm_up(call: Callable[[], Any], protocol: Protocol) -> float:
    """Call until caches, allocators and autotuning have settled.

    Returns the seconds of the first call, which compiles and tunes what there is to compile and
    tune, less the seconds of a later one: what is paid once.
    """
    seconds: list[float] = []
    while len(seconds) < protocol.warm_up_calls or sum(seconds) < protocol.warm_up_seconds:
        start = time.perf_counter()
        call()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return max(0.0, seconds[0] - min(seconds[1:], default=0.0))


def sample(call: Callable[[], Any], threads: int, protocol: Protocol) -> Samples:
    """Time ``call`` in blocks whose size ``torch.utils.benchmark.Timer`` chooses.

    Its clock is ``perf_counter``, which reads the same clock as ``perf_counter_ns``, after a
    synchronisation where this process uses CUDA (elsewhere that would only start CUDA). The time
    limit is given to the Timer as its least running time, so that the clock costs less than a
    thousandth of a block; the callback ends the sampling once the samples agree.
    """
    taken: list[float] = []
    total, calls, settled = 0.0, 1, False

    def collect(number: int, seconds: float) -> NoReturn:  # type: ignore[misc]
        nonlocal total, calls
        taken.append(seconds / number)
        total, calls = total + seconds, number
        if (
            len(taken) >= protocol.samples
            and total >= protocol.seconds
            and spread(taken) <= protocol.spread
        ):
            raise _Enough

    uses_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    clock = synchronised if uses_cuda else timeit.default_timer
    timer = Timer("call()", timer=clock, globals={"call": call}, num_threads=threads)
    with no_garbage_collection():
        try:
            timer.blocked_autorange(collect, min_run_time=protocol.cap)
        except _Enough:
            settled = True
    return Samples(tuple(taken), calls, settled)

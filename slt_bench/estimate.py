"""How long trials will take: from records of other seeds, else by a short rehearsal of each shape.

Rehearsals run as many side by side as the trials will, so that they share memory and caches alike.
Nothing is written to the store.
"""

from __future__ import annotations

import heapq
import os
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from slt_bench import datasets, running
from slt_bench.engines import Engine, Order, Preparing, by_task, shapes
from slt_bench.kernels import kernel_facts
from slt_bench.planning import is_stale
from slt_bench.provenance import available_cores, environment
from slt_bench.rehearsal import Rehearsal
from slt_bench.runner import checkpoint_of
from slt_bench.store import Record, Store
from slt_bench.trial import Trial, key_of

#: Seconds for all that is done to estimate: the strategies measured, the last rehearsal begun.
PREPARING, BEGINNING = 30.0, 50.0
#: Seconds for the timed part of one rehearsal, at least and at most.
_LEAST, _MOST = 0.2, 1.0
#: What a rehearsal takes beside its timed part; only to share out the time.
_OVERHEAD = 0.5
#: What times depend on. A record that says less, or something else, is no basis.
_MACHINE = ("processor", "instruction_sets", "torch", "threads", "device", "kernels")

Basis = Literal["record", "rehearsal", "alike", "none"]


@dataclass(frozen=True)
class Duration:
    """How long a trial will take, and how that is known.

    ``basis``: ``record`` of another seed; ``rehearsal``; ``alike``: the rehearsal of a trial of the
    same task; ``none``, then ``reason`` says why.
    """

    seconds: float | None
    basis: Basis
    reason: str = ""


@dataclass(frozen=True)
class Estimate:
    """How long a list of trials will take.

    Attributes:
        durations: of each trial, by key.
        at_a_time: trials that run side by side.
        threads: of each.
        before: seconds that pass until the first one starts.
        waited: share of the rehearsals' time in which processes of others held the processor.
    """

    durations: Mapping[str, Duration]
    at_a_time: int
    threads: int
    before: float = 0.0
    waited: float = 0.0

    @property
    def known(self) -> list[float]:
        return [d.seconds for d in self.durations.values() if d.seconds is not None]

    @property
    def seconds(self) -> float:
        """From the start of the first process to the end of the last trial, beside no others."""
        return self.before + makespan(self.known, self.at_a_time)

    @property
    def busy_seconds(self) -> float:
        """The same if other processes go on as they did."""
        return self.seconds / (1 - self.waited)


def makespan(durations: Sequence[float], at_a_time: int) -> float:
    """When the last of them ends, if each begins as soon as one of ``at_a_time`` places is free."""
    free = [0.0] * at_a_time
    for seconds in durations:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def estimate(
    trials: Sequence[Trial], store: Store, order: Order, engine: Engine, watcher: Preparing
) -> Estimate:
    """Estimate every trial; what is rehearsed has its kernels built and strategies measured."""
    begun = time.monotonic()
    side_by_side = engine.at_a_time(order)
    known: dict[str, Duration] = {}  # by key of the shape
    missing = _missing_data(trials, order)
    recorded = _recorded(trials, store, order)
    for shape in shapes(trials):
        if shape.key in recorded:
            known[shape.key] = Duration(recorded[shape.key], "record")
        elif shape.dataset in missing:
            known[shape.key] = Duration(None, "none", missing[shape.dataset])
    open_shapes = _in_turns([shape for shape in shapes(trials) if shape.key not in known])
    before = waited = 0.0
    if trials:
        with running.matrix():
            server, process = engine.start_seconds()
            limited = replace(order, deadline=begun + PREPARING)
            first = 2 * len(by_task(open_shapes))  # so that no task takes all of the time
            parts = [open_shapes[:first], open_shapes[first:]]
            prepared = [engine.prepare(part, limited, watcher) for part in parts if part]
            before = server + sum(p.seconds for p in prepared)
            ready = [s for s in open_shapes if any(s.key in p.ready for p in prepared)]
            share = BEGINNING * side_by_side / max(1, len(ready)) - _OVERHEAD
            seconds = min(_MOST, max(_LEAST, share))
            found = engine.rehearse(ready, order, watcher, seconds, begun + BEGINNING)
        done = [result for result in found.values() if isinstance(result, Rehearsal)]
        waited = statistics.mean(r.waited for r in done) if done else 0.0
        crowded = side_by_side * order.threads > available_cores()  # they wait for one another
        known |= _rehearsed(open_shapes, found, 1 / (1 - waited) if crowded else 1.0)
        for key, duration in known.items():
            if duration.basis == "record" and duration.seconds is not None:
                known[key] = replace(duration, seconds=duration.seconds + process)
        waited = 0.0 if crowded else waited
    durations = {
        trial.key: _left(trial, store, known[replace(trial, seed=0).key]) for trial in trials
    }
    return Estimate(durations, side_by_side, order.threads, before, waited)


# What is known --------------------------------------------------------------------------------


def _recorded(trials: Sequence[Trial], store: Store, order: Order) -> dict[str, float]:
    """Median seconds of records by key of the shape: other seeds, today's code, this machine."""
    wanted = {shape.key: shape for shape in shapes(trials)}
    here = _machine(order)
    found: dict[str, list[float]] = {}
    for record in store.records("train"):
        key = key_of({**record["trial"], "seed": 0})
        if key in wanted and _is_basis(record, wanted[key], here):
            found.setdefault(key, []).append(record["timing"]["seconds"])
    return {key: statistics.median(seconds) for key, seconds in found.items()}


def _is_basis(record: Record, shape: Trial, here: Mapping[str, Any]) -> bool:
    then = record["provenance"]
    return (
        "seconds" in record["timing"]
        and all(then.get(name) == value for name, value in here.items())
        and not is_stale(shape, record)
    )


def _machine(order: Order) -> dict[str, Any]:
    device = torch.device(order.device)
    facts = {**environment(device), "threads": order.threads, "kernels": kernel_facts()}
    return {name: facts[name] for name in _MACHINE}


def _missing_data(trials: Sequence[Trial], order: Order) -> dict[str, str]:
    """Data sets that are not on this machine, and why; nothing is downloaded."""
    missing = {}
    with _offline():
        for name in {t.dataset for t in trials} & set(datasets.names()):
            try:
                datasets.fetch(name, order.data)
            except datasets.DataUnavailable as error:
                missing[name] = str(error).partition("\n")[0]
    return missing


@contextmanager
def _offline() -> Iterator[None]:
    before = os.environ.get("SLT_BENCH_OFFLINE")
    os.environ["SLT_BENCH_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SLT_BENCH_OFFLINE"]
        else:
            os.environ["SLT_BENCH_OFFLINE"] = before


# What is tried --------------------------------------------------------------------------------


def _in_turns(trials: Sequence[Trial]) -> list[Trial]:
    """The most telling first: if time runs out, every task has had some of each kind."""
    return _interleaved([_interleaved(_by_baseline(group)) for group in by_task(trials)])


def _by_baseline(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Of each baseline the trials with most and fewest slots first: the others lie between."""
    found: dict[str, deque[Trial]] = {}
    for trial in sorted(trials, key=lambda t: -len(t.slots)):
        found.setdefault(trial.baseline, deque()).append(trial)
    ordered: list[list[Trial]] = []
    for name in dict.fromkeys(t.baseline for t in trials):
        ends = found[name]
        ordered.append([ends.pop() if n % 2 else ends.popleft() for n in range(len(ends))])
    return ordered


def _interleaved(lists: Sequence[Sequence[Trial]]) -> list[Trial]:
    """The first of each list, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [one[place] for place in range(longest) for one in lists if place < len(one)]


def _rehearsed(
    trials: Sequence[Trial], found: Mapping[str, Rehearsal | str], slower: float = 1.0
) -> dict[str, Duration]:
    """Of each trial; what there was no time for takes as long as others of its task did.

    ``slower``: how much longer all of them take than they did, because they share processors.
    """
    durations = {}
    for group in by_task(trials):
        tried = {t: r for t in group if isinstance(r := found.get(t.key), Rehearsal)}
        for trial in group:
            result = found.get(trial.key)
            if isinstance(result, Rehearsal):
                durations[trial.key] = Duration(slower * result.seconds, "rehearsal")
            elif result is not None:
                durations[trial.key] = Duration(None, "none", result)
            elif tried:
                durations[trial.key] = Duration(slower * _alike(trial, tried), "alike")
            else:
                reason = "there was no time to rehearse it or another one of its task"
                durations[trial.key] = Duration(None, "none", reason)
    return durations


def _alike(trial: Trial, tried: Mapping[Trial, Rehearsal]) -> float:
    """Mean seconds of those of its baseline, else of all, with the nearest number of slots."""
    same = {t: r for t, r in tried.items() if t.baseline == trial.baseline} or tried
    far = {t: abs(len(t.slots) - len(trial.slots)) for t in same}
    return statistics.mean(r.seconds for t, r in same.items() if far[t] == min(far.values()))


def _left(trial: Trial, store: Store, duration: Duration) -> Duration:
    """Less the share that a checkpoint holds."""
    if duration.seconds is None:
        return duration
    done = checkpoint_of(trial, store).updates() / trial.load_task().updates
    return replace(duration, seconds=duration.seconds * (1 - done))

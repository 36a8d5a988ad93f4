"""Ways of doing one thing, timed in turns in one process, and the record they make.

For what takes milliseconds to seconds a call and has rivals of other kinds: whole training
iterations, other libraries, ways that were tried. Each turn runs every way once, so that a slow
spell of the machine meets all of them and a ratio is one of the same turn. The clock is the
processor time of one thread: what other processes take does not count. (Layers with a verdict are
timed by ``session``, in fresh processes.)
"""

from __future__ import annotations

import os
import statistics as basic
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from slt_bench import kernels
from slt_bench.provenance import environment
from slt_bench.store import SCHEMA, Record
from slt_bench.timing import statistics
from slt_bench.timing.hardware import hardware_facts, hardware_name
from slt_bench.trial import key_of

Way = Callable[[], object]
#: Variables that make code use fewer instructions than the processor has.
_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "CC")


def turns(
    ways: Mapping[str, Way], count: int, at_least: float = 0.01
) -> dict[str, tuple[float, ...]]:
    """Seconds of processor time that a call of each way takes in one thread, one value a turn.

    Quick ways are repeated until a turn of theirs takes ``at_least`` so many seconds. Two calls
    come before, unmeasured.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        repeats = {}
        for name, way in ways.items():
            way()
            start = time.process_time()
            way()
            seconds = max(time.process_time() - start, 1e-6)
            repeats[name] = max(1, round(at_least / seconds))
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(count):
            for name, way in ways.items():
                start = time.process_time()
                for _ in range(repeats[name]):
                    way()
                found[name].append((time.process_time() - start) / repeats[name])
        return {name: tuple(seconds) for name, seconds in found.items()}
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Speedup:
    """How many times as fast: the median over turns, and the 95 % t-interval of the geometric
    mean; one turn has no interval."""

    median: float
    low: float | None
    high: float | None


def speedup(own: Sequence[float], peer: Sequence[float]) -> Speedup:
    """``peer`` over ``own``, paired turn by turn: above 1 is faster than the peer."""
    found = statistics.ratio(peer, own)
    median = basic.median(p / o for o, p in zip(own, peer, strict=True))
    return Speedup(median, found.low, found.high)


def instruction_set() -> str:
    """The widest vector instructions that torch uses, and what the processor has where it is more.

    ``ATEN_CPU_CAPABILITY=avx2`` and its like make a machine stand in for a lesser one.
    """
    widest = kernels.instruction_set()
    return f"{_capability()} ({widest} switched off)" if stands_in() else widest


def stands_in() -> bool:
    """Whether torch is held to fewer instructions than the processor has."""
    return kernels.instruction_set() == "AVX-512" and _capability() != "AVX512"


def _capability() -> str:
    return str(torch.backends.cpu.get_cpu_capability())


def speed_record(
    group: str, sizes: Mapping[str, Any], samples: Mapping[str, Sequence[float]], **facts: Any
) -> Record:
    """What was timed in turns, as a record of kind ``speed``.

    Args:
        group: what the ways have in common, in words; ``sizes``: its shapes and settings.
        samples: seconds a call, by way, one value a turn.
        facts: what the page of speed shows beside the times (all of it optional):
            ``targets``, rows ``{name, ours, peer, ratio, low, high, reach, aim, limit}``, those of
            exponents with ``smaller_is_better``; ``headline``, the ways that all others are held
            against; ``tried``, rows ``{way, instead, why}`` of ways that lose; ``setup_seconds``
            and ``missing`` (a reason in words) by way; ``parameter_counts`` by way.
    """
    identity = {
        "schema": SCHEMA,
        "kind": "speed",
        "group": group,
        "sizes": dict(sizes),
        "dtype": "float32",
        "threads": 1,
        "hardware": hardware_name("cpu"),
        "instruction_set": instruction_set(),
    }
    ways = {
        name: {
            "median": basic.median(seconds),
            "samples": [float(f"{value:.5g}") for value in seconds],
        }
        for name, seconds in samples.items()
    }
    provenance = {
        **environment(torch.device("cpu")),
        "threads": 1,
        "kernels": kernels.enabled(),
        "limits": {name: os.environ[name] for name in _LIMITS if name in os.environ},
        **hardware_facts(),
    }
    return {
        "schema": SCHEMA,
        "key": key_of(identity),
        "kind": "speed",
        "trial": identity,
        "status": "done",
        "timing": {"ways": ways},
        "facts": facts,
        "provenance": provenance,
    }

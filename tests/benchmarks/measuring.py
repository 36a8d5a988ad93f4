"""How speed is compared: processor time, one thread, ways in turns, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Way = Callable[[], object]


def medians(ways: Mapping[str, Way], rounds: int, at_least: float = 0.01) -> dict[str, float]:
    """Seconds of processor time a call of each way takes, in one thread.

    The ways run in turns, so that a slow spell of the machine meets all of them. Quick ones are
    repeated until a turn takes ``at_least`` so many seconds. Two calls come before, unmeasured.
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
        for _ in range(rounds):
            for name, way in ways.items():
                start = time.process_time()
                for _ in range(repeats[name]):
                    way()
                found[name].append((time.process_time() - start) / repeats[name])
        return {name: statistics.median(seconds) for name, seconds in found.items()}
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Target:
    """A row of the table: how many times as fast ``ours`` must be as ``peer``.

    ``reach`` holds at least (with AVX-512, with AVX2); ``aim`` is what to hope for; ``limit`` says
    what stands in the way where it is not reached.
    """

    name: str
    ours: str
    peer: str
    reach: tuple[float, float]
    aim: float
    limit: str = ""


@dataclass(frozen=True)
class Result:
    """A target and what was measured of it; a growth exponent has no peer and wants to be small."""

    name: str
    peer: str
    ours_seconds: float
    ratio: float
    reach: float
    aim: float
    limit: str = ""
    smaller_is_better: bool = False

    @property
    def met(self) -> bool:
        return self.ratio <= self.reach if self.smaller_is_better else self.ratio >= self.reach

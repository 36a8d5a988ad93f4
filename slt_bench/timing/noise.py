"""The noise gate: what other processes took of the cores, and whether a time may be published."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from slt_bench.running import matrix_runs
from slt_bench.timing.statistics import spread

#: Share of the cores' time that others may use.
OTHERS = 0.10
#: Interquartile range over median that the per-round ratios to dense may have.
SPREAD = 0.10

_STAT = Path("/proc/stat")
MATRIX = "a matrix of slt-bench is running"


class Noisy(RuntimeError):
    """The machine did not become quiet in the time that was given."""


def busy_seconds() -> float | None:
    """Core-seconds that all processes have used since the machine started; None if not known.

    Time stolen by the host counts: it is taken from this machine like that of any other process.
    """
    if not _STAT.exists():
        return None
    with _STAT.open() as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    user, nice, system, _, _, interrupts, soft, stolen = fields
    ticks = user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


class Meter:
    """What others used of the cores' time since the last reading.

    ``own``: processor seconds that this tool has used so far, which do not count.
    """

    def __init__(self, own: Callable[[], float]) -> None:
        self.own = own
        self.restart()

    def restart(self) -> None:
        self.start = (time.monotonic(), busy_seconds(), self.own())

    def others(self) -> float | None:
        """A share from 0 to 1 of all cores' time; None where the system does not say."""
        began, busy_before, own_before = self.start
        busy, own = busy_seconds(), self.own()
        if busy is None or busy_before is None:
            return None
        available = (time.monotonic() - began) * (os.cpu_count() or 1)
        share = (busy - busy_before - (own - own_before)) / available
        return min(1.0, max(0.0, share))


def wait_for_quiet(
    meter: Meter, window: float, patience: float, allow_noisy: bool, say: Callable[[str], None]
) -> float | None:
    """Watch for ``window`` seconds, again until all is quiet; returns what others then used.

    Raises:
        Noisy: ``patience`` seconds have passed. With ``allow_noisy`` that is no obstacle, but a
            matrix of slt-bench always is.
    """
    deadline = time.monotonic() + patience
    told = False
    while True:
        meter.restart()
        time.sleep(window)
        others = meter.others()
        matrix = matrix_runs()
        busy = others is not None and others > OTHERS
        if not matrix and (allow_noisy or not busy):
            return others
        reason = MATRIX if matrix else used(others, f"in the last {window:g} s")
        if time.monotonic() >= deadline:
            raise Noisy(reason)
        if not told:
            say(f"waiting up to {patience:g} s: {reason}")
            told = True


def used(others: float | None, when: str) -> str:
    return f"other processes used {others or 0:.0%} of the cores' time {when}"


def reasons(
    ratios: Sequence[float], before: Sequence[float | None], during: Sequence[float | None]
) -> list[str]:
    """Why a row may not be published, in words; ``before`` and ``during`` have a value a round."""
    found = []
    if len(ratios) > 1 and spread(ratios) > SPREAD:
        found.append(f"the ratios to dense spread by {spread(ratios):.0%} (interquartile)")
    for values, when in ((before, "before"), (during, "during")):
        loud = [share for share in values if share is not None and share > OTHERS]
        if loud:
            rounds = f"{when} {len(loud)} of {len(values)} rounds"
            found.append(used(max(loud), f"at worst, {rounds}"))
    return found

"""What benchmarks hold their times against, and the record that each of them leaves.

A record travels in ``benchmark.extra_info``: ``slt-bench merge`` takes it from the JSON file of
``--benchmark-json`` into the store, and ``slt-bench report speed`` makes a page of all of them.
"""

from __future__ import annotations

import statistics as basic
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from slt_bench.evidence import mean_interval
from slt_bench.layers import count_parameters
from slt_bench.store import Record
from slt_bench.timing.statistics import exponent
from slt_bench.timing.turns import Way, instruction_set, speed_record, speedup, turns

Samples = Mapping[str, Sequence[float]]
Row = dict[str, Any]
WIDE = instruction_set() == "AVX-512"


class Goal(Protocol):
    """What becomes a row of the table of targets."""

    def row(self, samples: Samples) -> Row: ...

    def lost(self, row: Row) -> bool:
        """So far off that a fast path was not taken, on a noisy machine too."""
        ...


@dataclass(frozen=True)
class Target:
    """How many times as fast ``ours`` must be as ``peer``.

    ``reach`` holds at least (with AVX-512, with less); ``aim`` is what to hope for; ``limit`` says
    what stands in the way where it is not reached, and names ways in braces for their times:
    ``{dense:.0f} ms``.
    """

    name: str
    ours: str
    peer: str
    reach: tuple[float, float]
    aim: float
    limit: str = ""

    def row(self, samples: Samples) -> Row:
        found = speedup(samples[self.ours], samples[self.peer])
        ms = {name: 1e3 * basic.median(seconds) for name, seconds in samples.items()}
        return {
            "name": self.name,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": found.median,
            "low": found.low,
            "high": found.high,
            "reach": self.reach[0 if WIDE else 1],
            "aim": self.aim,
            "limit": self.limit.format_map(ms),
        }

    def lost(self, row: Row) -> bool:
        return bool(row["ratio"] < row["reach"] / 2)


@dataclass(frozen=True)
class Growth:
    """With what exponent of its size, at most, the time of ways named by their size may grow."""

    name: str
    reach: float
    aim: float
    lost_from: float

    def row(self, samples: Samples) -> Row:
        sizes = [int(name) for name in samples]
        fits = [exponent(sizes, turn) for turn in zip(*samples.values(), strict=True)]
        values = [fit.value for fit in fits if fit is not None]
        found = mean_interval(values)
        return {
            "name": self.name,
            "ours": str(sizes[-1]),
            "peer": None,
            "ratio": basic.median(values),
            "low": found.low,
            "high": found.high,
            "reach": self.reach,
            "aim": self.aim,
            "limit": "",
            "smaller_is_better": True,
        }

    def lost(self, row: Row) -> bool:
        return bool(row["ratio"] >= self.lost_from)


@dataclass(frozen=True)
class Comparison:
    """A group of ways that do the same thing.

    Attributes:
        sizes: shapes and settings in words.
        goals: what is asserted, and shown in the table of targets.
        headline: the ways that all others are held against.
        tried: ``{way, instead, why}`` of ways that exist and lose.
        setup_seconds, missing: by way, what it cost to make ready and why it could not be timed.
        models: by way, for their counts of weights.
    """

    group: str
    sizes: Mapping[str, Any]
    ways: Mapping[str, Way]
    goals: Sequence[Goal] = ()
    headline: Sequence[str] = ()
    tried: Sequence[Mapping[str, str]] = ()
    setup_seconds: Mapping[str, float] | None = None
    missing: Mapping[str, str] | None = None
    models: Mapping[str, nn.Module] | None = None
    turns: int = 5

    def record(self) -> Record:
        """Measure. What is far off is measured once more before it counts: a neighbour's load
        may have met one way more than the other."""
        record = self._measured()
        return self._measured() if self.lost(record) else record

    def lost(self, record: Record) -> list[str]:
        """Lines on the goals that were missed by far."""
        rows = zip(self.goals, record["facts"]["targets"], strict=True)
        return [
            f"{row['name']} ({row['peer']}): {row['ratio']:.2f}, where {row['reach']} is wanted"
            for goal, row in rows
            if goal.lost(row)
        ]

    def _measured(self) -> Record:
        samples = turns(self.ways, self.turns)
        counts = {name: count_parameters(m) for name, m in (self.models or {}).items()}
        return speed_record(
            self.group,
            self.sizes,
            samples,
            targets=[goal.row(samples) for goal in self.goals],
            headline=list(self.headline),
            tried=[dict(row) for row in self.tried],
            setup_seconds=dict(self.setup_seconds or {}),
            missing=dict(self.missing or {}),
            parameter_counts=counts,
        )


def table(records: Sequence[Record], write: Callable[[str], None]) -> None:
    """The targets of the records and the times behind them, as lines of text."""
    write(f"{'':58s} {'against':20s} {'ms':>9s} {'times':>7s} {'reach':>6s} {'aim':>5s}")
    for record in records:
        ways = record["timing"]["ways"]
        for row in record["facts"]["targets"]:
            small = row.get("smaller_is_better", False)
            met = row["ratio"] <= row["reach"] if small else row["ratio"] >= row["reach"]
            verdict = "" if met else f"  below{': ' * bool(row['limit'])}{row['limit']}"
            write(
                f"{row['name']:58s} {row['peer'] or '(exponent)':20s} "
                f"{ways[row['ours']]['median'] * 1e3:9.2f} {row['ratio']:7.2f} "
                f"{row['reach']:6.2f} {row['aim']:5.1f}{verdict}"
            )
    write("")
    for record in records:
        ways = record["timing"]["ways"].items()
        times = ", ".join(f"{name} {way['median'] * 1e3:.4g}" for name, way in ways)
        write(f"{record['trial']['group']}, ms: {times}")

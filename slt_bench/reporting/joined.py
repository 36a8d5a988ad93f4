"""Rows of training joined with the times of their layers: accuracy against latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from slt_bench.reporting.published import Line
from slt_bench.reporting.trained import Trained, timeless
from slt_bench.timing.cell import MODES, row_label
from slt_bench.trial import BUDGETS


def bench(line: Line) -> tuple[str, ...]:
    """Machine, dtype, threads and batch of a time, in words: what one figure shares."""
    trial = line["trial"]
    threads = "1 thread" if trial["threads"] == 1 else f"{trial['threads']} threads"
    compiled = ("compiled",) if trial.get("compiled") else ()
    return (trial["hardware"], trial["dtype"], threads, *compiled, f"batch {trial['batch']}")


@dataclass(frozen=True)
class Joined:
    """A row of training with the time of its layer; ``exact``: timed with the same settings."""

    row: Trained
    line: Line
    exact: bool


@dataclass(frozen=True)
class Panel:
    """Rows of one protocol with times at one shape, and dense's time there if it was timed."""

    rows: tuple[Joined, ...]
    shape: tuple[int, int]
    dense: Line | None


def panels(lines: Sequence[Line], rows: Sequence[Trained]) -> list[Panel]:
    """A panel a task, all by the times of one machine, mode and batch: those that join most."""
    benches: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        if line["trial"]["mode"] != "sequence":  # the time of a layer, not of a network
            mode = line["trial"]["mode"]
            key = (MODES.index(mode), line["measure"], *bench(line))
            benches.setdefault(key, []).append(line)
    joined = [_panels(benches[key], rows) for key in sorted(benches)]
    return max(joined, key=lambda found: sum(len(panel.rows) for panel in found), default=[])


def _panels(lines: Sequence[Line], rows: Sequence[Trained]) -> list[Panel]:
    """The protocol of each task that has most structures, then the longest."""
    protocols: dict[str, list[Trained]] = {}
    for row in rows:
        protocols.setdefault(row.protocol, []).append(row)
    best: dict[str, tuple[tuple[Any, ...], Panel]] = {}
    for name, members in sorted(protocols.items()):
        if panel := join(members, lines):
            first = members[0].outcome
            structures = len({one.row.outcome.baseline for one in panel.rows})
            rank = (structures, BUDGETS.index(first.budget), -len(first.options), name)
            best[first.task] = max(best.get(first.task, (rank, panel)), (rank, panel),
                                   key=lambda pair: pair[0])  # fmt: skip
    return [panel for _, (_, panel) in sorted(best.items())]


def join(rows: Sequence[Trained], lines: Sequence[Line]) -> Panel | None:
    """Rows of one protocol with times at their slot's shape, else at the timed square nearest to
    it; None where nothing was timed there."""
    slot = rows[0].shape
    names = {row.outcome.baseline for row in rows}
    shapes = {_shape(line) for line in lines if line["trial"]["baseline"] in names}
    if slot not in shapes:
        squares = sorted((n, m) for n, m in shapes if n == m)
        if not squares:
            return None
        slot = min(squares, key=lambda s: abs(2 * log(s[0]) - log(slot[0]) - log(slot[1])))
    here = [line for line in lines if _shape(line) == slot]
    found = [_join(row, here) for row in rows]
    plain = (line for line in here if row_label(line["trial"]) == "dense")
    panel = Panel(tuple(one for one in found if one), slot, next(plain, None))
    return panel if panel.rows else None


def _shape(line: Line) -> tuple[int, int]:
    return line["n_in"], line["n_out"]


def _join(row: Trained, lines: Sequence[Line]) -> Joined | None:
    """With the time of the same settings; else of those that keep most nearly as many weights."""
    mine = [line for line in lines if line["trial"]["baseline"] == row.outcome.baseline]
    if not mine:
        return None
    settings = timeless(row.outcome.settings)
    for line in mine:
        if timeless(line["trial"]["settings"]) == settings:
            return Joined(row, line, exact=True)

    def distance(line: Line) -> float:
        share = line["parameter_count"] / (line["n_in"] * line["n_out"])
        return abs(log(share / row.share))

    return Joined(row, min(mine, key=distance), exact=False)

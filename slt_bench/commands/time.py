"""The verb ``time``: say which cells would be measured, or measure them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from slt_bench.commands.values import Document
from slt_bench.progress import TimeWatch
from slt_bench.reporting import latency
from slt_bench.reporting.published import duration
from slt_bench.reporting.rendering import write_report
from slt_bench.running import Busy
from slt_bench.store import Store
from slt_bench.timing import statistics
from slt_bench.timing.cell import Cell
from slt_bench.timing.estimate import Length, expected
from slt_bench.timing.noise import Noisy
from slt_bench.timing.rows import DETERMINED, Row
from slt_bench.timing.sampling import Protocol
from slt_bench.timing.session import Stopped, measure
from slt_bench.timing.state import Plan


def describe(cells: Sequence[Cell], rounds: int, cap: float | None = None) -> Document:
    """What ``--dry-run`` says: the cells, in the order of the tables, and how long they take."""
    rows = [{"key": c.key, "label": c.label, **c.identity, "status": "planned"} for c in cells]
    length = asdict(expected(cells, rounds, _protocol(cap)))
    return {**_nothing(None, 0), "rows": rows, "rounds": rounds, "seconds": length}


def time_cells(
    cells: Sequence[Cell],
    store: Store,
    *,
    rounds: int = 10,
    patience: float | None = None,
    allow_noisy: bool = False,
    match: str | None = None,
    cap: float | None = None,
    stop_after: int | None = None,
) -> Document:
    """Measure, publish, write the latency pages, and say how every cell stands.

    ``cap``: seconds after which a process's sampling ends (default: the protocol's).
    Exit codes: 0; 1 a cell failed for a reason that may go away; 3 nothing, or not all, may be
    published; 4 stopped after ``stop_after`` rounds.
    """
    plan = Plan(rounds, patience or 0.0, allow_noisy, _protocol(cap), stop_after)
    try:
        with TimeWatch(
            _length(len(cells), rounds, expected(cells, rounds, plan.protocol))
        ) as watch:
            rows = measure(cells, store, plan, watch, match=match)
    except Stopped as stopped:
        return _nothing(f"{stopped}: the same command goes on from here", 4)
    except (Noisy, Busy) as error:
        hint = "try again on a quiet machine"
        if isinstance(error, Noisy):
            hint += ", wait longer (--wait 10m)"
        return _nothing(f"refused: {error}; {hint}", 3)
    files = []
    for name, device in latency.PAGES.items():
        if any(row.published and row.cell.device == device for row in rows):
            files += write_report(latency.latency_page(store, name), store.reports)
    statuses = {row.record["status"] for row in rows}
    noisy = [row for row in rows if row.noisy and not row.published]
    code = 1 if statuses - {"done", *DETERMINED} else 0
    refused = None
    if noisy:
        code = 3
        refused = (
            f"refused: {len(noisy)} of {len(rows)} rows are noisy and were not published; the same "
            "command with --allow-noisy publishes what was measured, with its mark"
        )
    return {
        "rows": [_standing(row) for row in rows],
        "files": [str(file) for file in files],
        "refused": refused,
        "exit_code": code,
    }


def _nothing(refused: str | None, code: int) -> Document:
    return {"rows": [], "files": [], "refused": refused, "exit_code": code}


def _protocol(cap: float | None) -> Protocol:
    return Protocol() if cap is None else replace(Protocol(), cap=cap)


def _length(cells: int, rounds: int, length: Length) -> str:
    return (
        f"{cells} cells, {rounds} rounds: {duration(length.least)} where all samples agree at "
        f"once, at most about {duration(length.most)}"
    )


def _standing(row: Row) -> dict[str, Any]:
    record = row.record
    found = {
        "key": row.cell.key,
        "label": row.cell.label,
        **row.cell.group,
        "baseline": row.cell.baseline,
        "settings": dict(row.cell.settings),
        "status": record["status"],
        "published": row.published,
        "noisy": list(row.noisy),
        "message": record.get("error", ""),
    }
    if record["status"] == "done":
        rounds = record["timing"]["rounds"]
        medians = [r["measures"]["call"]["median"] for r in rounds]
        found |= asdict(statistics.times(medians))
        if "dense" in rounds[0]:
            found["ratio"] = statistics.ratio(medians, [r["dense"]["call"] for r in rounds]).mean
    return found


def time_lines(document: Document) -> Iterator[str]:
    """A document of :func:`time_cells` for people."""
    for row in document["rows"]:
        start = f"{row['key'][:8]}  {row['label']}"
        if row["status"] == "planned":
            yield start
            continue
        if row["status"] != "done":
            yield f"{start}: {row['status']}: {row['message']}"
            continue
        ratio = f", {row['ratio']:.3g} times dense" if "ratio" in row else ""
        mark = f"  noisy: {'; '.join(row['noisy'])}" if row["noisy"] else ""
        yield f"{start}: {latency.duration(row['median'])}{ratio}{mark}"
    if "seconds" in document:
        yield _length(len(document["rows"]), document["rounds"], Length(**document["seconds"]))
    for file in document["files"]:
        yield f"written: {file}"
    if document["refused"]:
        yield document["refused"]

"""The verb ``time``: say which cells would be measured, or measure them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from slt_bench.commands.values import Document
from slt_bench.reporting import latency
from slt_bench.reporting.rendering import write_report
from slt_bench.running import Busy
from slt_bench.store import Store
from slt_bench.timing import statistics
from slt_bench.timing.cell import Cell
from slt_bench.timing.noise import Noisy
from slt_bench.timing.sampling import Protocol
from slt_bench.timing.session import DETERMINED, Plan, Row, measure


def describe(cells: Sequence[Cell]) -> Document:
    """What ``--dry-run`` says: the cells, in the order of the tables."""
    rows = [{"key": c.key, "label": c.label, **c.identity, "status": "planned"} for c in cells]
    return {"rows": rows, "files": [], "refused": None, "exit_code": 0}


def time_cells(
    cells: Sequence[Cell],
    store: Store,
    *,
    rounds: int = 10,
    patience: float | None = None,
    allow_noisy: bool = False,
    match: str | None = None,
    protocol: Protocol | None = None,
) -> Document:
    """Measure, publish, write the latency pages, and say how every cell stands.

    Exit codes: 0; 1 a cell failed for a reason that may go away; 3 nothing, or not all, may be
    published.
    """
    plan = Plan(rounds, patience or 0.0, allow_noisy, protocol or Protocol())
    try:
        rows = measure(cells, store, plan, _say, match=match)
    except (Noisy, Busy) as error:
        hint = "try again on a quiet machine"
        if isinstance(error, Noisy):
            hint += ", wait longer (--wait 10m)"
        return {"rows": [], "files": [], "refused": f"refused: {error}; {hint}", "exit_code": 3}
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
            f"refused: {len(noisy)} of {len(rows)} rows are noisy and were not published; "
            "--allow-noisy publishes them with their mark"
        )
    return {
        "rows": [_standing(row) for row in rows],
        "files": [str(file) for file in files],
        "refused": refused,
        "exit_code": code,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
    for file in document["files"]:
        yield f"written: {file}"
    if document["refused"]:
        yield document["refused"]

"""What ``slt-bench list`` and ``show`` print. Imports neither torch nor pandas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from slt_bench import registry
from slt_bench.store import Record, Store, find_reports
from slt_bench.suites import load_suite, suite_names

Row = dict[str, Any]


def baselines() -> list[Row]:
    rows = []
    for name, entry in registry.entries("baselines").items():
        line, attributes = registry.describe(entry)
        kind = "control" if attributes.get("control") else ""
        rows.append({"name": name, "kind": kind, "description": line})
    return rows


def tasks() -> list[Row]:
    rows = []
    for name, entry in registry.entries("tasks").items():
        rows.append({"name": name, "description": registry.describe(entry)[0]})
    return rows


def suites() -> list[Row]:
    rows = []
    for name in suite_names():
        suite = load_suite(name)
        rows.append({"name": name, "rows": len(suite.rows), "description": suite.title})
    return rows


def trials(results: str | None) -> list[Row]:
    """What the store holds: finished trials, then failed ones."""
    store = Store(find_reports(results))
    return [
        {
            "key": record["key"][:8],
            "status": record["status"],
            "task": record["trial"]["task"],
            "baseline": record["trial"]["baseline"],
            "slots": "+".join(record["trial"]["slots"]),
            "budget": record["trial"]["budget"],
            "seed": record["trial"]["seed"],
            "changed": _pairs({**record["trial"]["settings"], **record["trial"]["options"]}),
        }
        for found in (store.records("train"), store.failures("train"))
        for record in found
    ]


def _pairs(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Rows as aligned columns."""
    if not rows:
        return
    texts = [[str(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for text in texts:
        cells = (cell.ljust(width) for cell, width in zip(text, widths, strict=True) if width)
        yield "  ".join(cells).rstrip()


def record(key: str, results: str | None) -> Record:
    return Store(find_reports(results)).find(key)


def record_lines(record: Record) -> Iterator[str]:
    """A record for people: everything but the points of its curves."""
    for name, value in record.items():
        if name in ("curves", "summary"):
            parts = value.items() if isinstance(value, dict) else [("", value)]
            points = ", ".join(f"{part} {len(found)} points".strip() for part, found in parts)
            yield f"{name}: {points} (--json prints them)"
        elif isinstance(value, dict):
            yield f"{name}:"
            for inner, content in value.items():
                yield f"  {inner}: {json.dumps(content)}"
        else:
            yield f"{name}: {value if isinstance(value, str) else json.dumps(value)}"

"""The verb ``compare``: what became faster or slower between two sets of times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import get_args

from slt_bench.commands.values import Document
from slt_bench.errors import UsageError, unknown
from slt_bench.store import Record, Store
from slt_bench.timing import statistics
from slt_bench.timing.cell import row_label, shape_label

CHANGES = get_args(statistics.ChangeName)


def compare(before: Store, after: Store, *, fail_if: Sequence[str] = ()) -> Document:
    """Every cell that two stores share, by its ratios to dense: better, worse, same, ambiguous.

    Exit code 1 where a row has one of the changes ``fail_if``.

    Raises:
        UsageError: the stores have no timed cell in common, or there is no such change.
    """
    for name in fail_if:
        if name not in CHANGES:
            raise unknown("change", name, CHANGES)
    old, new = _ratios(before), _ratios(after)
    shared = [key for key in old if key in new]
    if not shared:
        raise UsageError(
            f"no timed cell is in both {before.reports} and {after.reports}: run the same "
            "'slt-bench time' with --results for each"
        )
    found = statistics.changes([(old[key][1], new[key][1]) for key in shared])
    rows = []
    for key, change in zip(shared, found, strict=True):
        record, measure_name = old[key][0], key[1]
        trial = record["trial"]
        label = f"{row_label(trial)} {shape_label(trial['shape'])} batch {trial['batch']}"
        rows.append(
            {
                "key": key[0],
                "label": f"{label} {trial['mode']}",
                "measure": measure_name,
                "change": change.name,
                **{k: v for k, v in asdict(change).items() if k != "name"},
            }
        )
    alone = len(old.keys() ^ new.keys())
    code = int(any(row["change"] in fail_if for row in rows))
    return {"rows": rows, "alone": alone, "exit_code": code}


def _ratios(store: Store) -> dict[tuple[str, str], tuple[Record, list[float]]]:
    """{(key, measure): (record, ratio to dense of each round)}."""
    found = {}
    for record in store.records("time"):
        rounds = record["timing"]["rounds"]
        if "dense" in rounds[0]:
            for name in rounds[0]["measures"]:
                ratios = [r["measures"][name]["median"] / r["dense"][name] for r in rounds]
                found[record["key"], name] = (record, ratios)
    return found


def compare_lines(document: Document) -> Iterator[str]:
    for row in document["rows"]:
        bounds = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
        kind = "" if row["measure"] == "call" else f" ({row['measure']})"
        yield f"{row['change']:<9}  {row['ratio']:.3f}{bounds}  {row['label']}{kind}"
    names = [row["change"] for row in document["rows"]]
    total = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    only = f"; {document['alone']} in one of the stores alone" if document["alone"] else ""
    yield f"{len(names)} rows: {total}{only}"

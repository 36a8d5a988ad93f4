"""The verb ``compare``: what became faster or slower between two sets of times."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from slt_bench import provenance
from slt_bench.commands import revisions
from slt_bench.commands.values import Document, open_store
from slt_bench.errors import UsageError, unknown
from slt_bench.store import Record, Store
from slt_bench.timing import statistics
from slt_bench.timing.cell import row_label, shape_label

CHANGES = get_args(statistics.ChangeName)


def compare_sides(
    before: str,
    after: str,
    *,
    fail_if: Sequence[str] = (),
    measuring: revisions.Options = (),
    rounds: int = 10,
    results: str | None = None,
) -> Document:
    """Compare two sides, each a reports folder or else a git revision of this checkout.

    Revisions are measured now, with the options ``measuring`` of ``time``. What they measure is
    kept in the folder ``results``; without one beside the checkpoints, until it was compared.

    Exit codes: those of :func:`compare`; 3 not all times of a revision may be published.

    Raises:
        UsageError: as :func:`compare`; there is no such revision, or no revision to measure for
            the options that were given.
    """
    _check(fail_if)
    named = {"before": before, "after": after}
    asked = {place: side for place, side in named.items() if not Path(side).is_dir()}
    given = [name for name, _ in measuring] + (["--results"] if results else [])
    if given and not asked:
        raise UsageError(
            f"{', '.join(dict.fromkeys(given))}: only git revisions are measured, and {before} and "
            f"{after} are results folders"
        )
    here = open_store(None)
    folder = Path(results).resolve() if results else here.checkpoints.resolve() / "compare"
    measured = {place: revisions.resolve(side, folder / place) for place, side in asked.items()}
    notes: list[str] = []
    refused: list[str] = []
    if measured:
        if not results:
            here.make_checkpoints()
        notes, refused = revisions.measure(list(measured.values()), measuring, rounds)
        if provenance.commit()["dirty"]:
            notes.append("uncommitted changes are not measured: a revision is a commit")
    stores = [measured[p].store if p in measured else Store(side) for p, side in named.items()]
    if refused and not (_ratios(stores[0]).keys() & _ratios(stores[1]).keys()):
        document: Document = {"rows": [], "alone": 0, "exit_code": 3}
    else:
        document = compare(*stores, fail_if=fail_if)
    notes = [f"{r.name}: commit {r.commit[:12]}" for r in measured.values()] + notes
    document |= {"notes": notes, "refused": refused}
    if refused:
        return {**document, "exit_code": 3}
    for revision in measured.values():
        revision.mark.unlink(missing_ok=True)
    if measured and not results:
        shutil.rmtree(folder)
    return document


def compare(before: Store, after: Store, *, fail_if: Sequence[str] = ()) -> Document:
    """Every cell that two stores share, by its ratios to dense: better, worse, same, ambiguous.

    Exit code 1 where a row has one of the changes ``fail_if``.

    Raises:
        UsageError: the stores have no timed cell in common, or there is no such change.
    """
    _check(fail_if)
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
    return {"rows": rows, "alone": alone, "notes": [], "refused": [], "exit_code": code}


def _check(changes: Sequence[str]) -> None:
    for name in changes:
        if name not in CHANGES:
            raise unknown("change", name, CHANGES)


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
    yield from document["notes"]
    for row in document["rows"]:
        bounds = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
        kind = "" if row["measure"] == "call" else f" ({row['measure']})"
        yield f"{row['change']:<9}  {row['ratio']:.3f}{bounds}  {row['label']}{kind}"
    names = [row["change"] for row in document["rows"]]
    total = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    only = f"; {document['alone']} in one of the stores alone" if document["alone"] else ""
    yield f"{len(names)} rows: {total}{only}"
    yield from document["refused"]

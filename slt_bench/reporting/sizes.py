"""How layers compare as they grow: crossovers, time over floor, exponents, from kind ``time``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, groupby
from typing import Any

from slt_bench.reporting import columns
from slt_bench.reporting.columns import (
    KEYS,
    ROW,
    Column,
    interval_column,
    text_column,
    value_column,
)
from slt_bench.reporting.latency import growth_lines, record_lines
from slt_bench.reporting.published import Line
from slt_bench.reporting.tables import Table, table_of
from slt_bench.store import Record
from slt_bench.timing import statistics
from slt_bench.timing.cell import row_label

CROSSOVER_NOTE = (
    "The n from which the layer stays faster than dense, up to the largest n that was timed: "
    "between two sizes the logarithm of the ratio is taken as linear in that of n. Ratio: time "
    "over dense in the same round, geometric mean. A layer at a budget (weights, or a share of "
    "dense's) has the settings that come nearest to it at each size."
)
PAIR_NOTE = (
    "The n at which the quicker one of two layers changes for the last time, found as above. Pairs "
    "that keep their order are left out."
)
FLOOR_NOTE = (
    "The median time over what the fewest bytes and multiply-adds of the call would take at the "
    "measured copy bandwidth and matrix-product rate of the machine."
)
GROWTH_NOTE = (
    "k of time = c n^k over the sizes that were timed, with the 95 % interval of the slope, and k "
    "of the declared multiply-adds over the same sizes."
)


def size_tables(hardware: str, records: Sequence[Record]) -> Iterator[Table]:
    """The tables of the square layers that were timed on one device."""
    lines = [
        {
            **line,
            "label": _label(record),
            "timed": _conditions(record["trial"], line),
            "dense": _is_dense(record["trial"]),
        }
        for record in records
        if record["trial"]["shape"][0] == record["trial"]["shape"][1]
        if not record["trial"].get("copy")
        for line in record_lines(record)
    ]
    lines.sort(key=lambda line: (line["timed"], not line["dense"], line["label"], line["n_in"]))
    series = {
        key: list(points) for key, points in groupby(lines, lambda x: (x["timed"], x["label"]))
    }
    rivals = [points for points in series.values() if not points[0]["dense"]]
    if crossed := [line for points in rivals for line in _crossover(points)]:
        title = f"Where a structure becomes faster than dense, {hardware}"
        yield table_of("crossovers", title, CROSSOVER_NOTE, crossed, CROSSOVERS)
    if pairs := [line for a, b in combinations(rivals, 2) for line in _pair(a, b)]:
        title = f"Where one structure becomes faster than another, {hardware}"
        yield table_of("pairs", title, PAIR_NOTE, pairs, PAIRS)
    if lines:
        sizes = sorted({line["n_in"] for line in lines})
        floors = [_floor(points) for points in series.values()]
        chosen = (ROW, TIMED, *(_over_floor(n) for n in sizes))
        yield table_of("floor", f"Time over floor by n, {hardware}", FLOOR_NOTE, floors, chosen)
    growth = [
        {**line, "timed": points[0]["timed"]}
        for points in series.values()
        for line in growth_lines(points)
    ]
    if growth:
        yield table_of("growth", f"Growth with n, {hardware}", GROWTH_NOTE, growth, GROWTH)


def _conditions(trial: Mapping[str, Any], line: Line) -> str:
    """What is equal for layers that may be compared, in words."""
    threads = "1 thread" if trial["threads"] == 1 else f"{trial['threads']} threads"
    steps = f"{trial['steps']} steps" if "steps" in trial else ""
    compiled = "compiled" if trial.get("compiled") else ""
    measure = line["measure"] if trial["device"] != "cpu" else ""
    batch = f"batch {trial['batch']}"
    parts = (trial["mode"], steps, batch, trial["dtype"], threads, compiled, measure)
    return ", ".join(part for part in parts if part)


def _label(record: Record) -> str:
    """One name for a layer at all sizes, where its settings were solved for a budget, too."""
    trial, match = record["trial"], record["facts"].get("match")
    return f"{trial['baseline']} at {match}" if match and trial["settings"] else row_label(trial)


def _is_dense(trial: Mapping[str, Any]) -> bool:
    return trial["baseline"] == "dense" and not trial["settings"]


def _crossover(points: Sequence[Line]) -> Iterator[Line]:
    """Where a layer's ratio to dense falls below 1."""
    known = [point for point in points if point.get("ratio") is not None]
    if not known:
        return
    sizes, ratios = [p["n_in"] for p in known], [p["ratio"] for p in known]
    at = statistics.crossover(sizes, ratios, [1.0] * len(sizes))
    text = f"below {sizes[0]:,}" if ratios[-1] < 1 else f"not up to {sizes[-1]:,}"
    yield {
        "label": points[0]["label"],
        "timed": points[0]["timed"],
        "sizes": " ".join(map(str, sizes)),
        "crossover": at,
        "crossover_text": text if at is None else f"{at:,.0f}",
        "smallest_ratio": ratios[0],
        "largest_ratio": ratios[-1],
        "keys": [key for point in known for key in point["keys"]],
        "stale": [],
    }


def _pair(a: Sequence[Line], b: Sequence[Line]) -> Iterator[Line]:
    """Where the quicker one of two layers changes."""
    if a[0]["timed"] != b[0]["timed"]:
        return
    times = [{point["n_in"]: point["median"] for point in points} for points in (a, b)]
    sizes = sorted(times[0].keys() & times[1].keys())
    for (up_to, slow), (from_on, quick) in (((a, 0), (b, 1)), ((b, 1), (a, 0))):
        own, other = ([times[i][n] for n in sizes] for i in (quick, slow))
        at = statistics.crossover(sizes, own, other)
        if at is not None:
            yield {
                "label": up_to[0]["label"],
                "other": from_on[0]["label"],
                "timed": a[0]["timed"],
                "sizes": " ".join(map(str, sizes)),
                "crossover": at,
            }


def _floor(points: Sequence[Line]) -> Line:
    over = {f"over_floor_{point['n_in']}": point["over_floor"] for point in points}
    return {"label": points[0]["label"], "timed": points[0]["timed"], **over}


# Columns ---------------------------------------------------------------------------------------


def _over_floor(n: int) -> Column:
    return value_column(f"{n:,}", f"over_floor_{n}", partial(columns.number, digits=1))


TIMED = text_column("timed", "timed", wide=True)
SIZES = text_column("sizes", "sizes", wide=True)
CROSSOVERS = (
    ROW,
    TIMED,
    SIZES,
    Column("faster from n", ("crossover", "crossover_text"), lambda line: line["crossover_text"]),
    value_column("ratio at the smallest", "smallest_ratio", partial(columns.number, digits=3)),
    value_column("at the largest", "largest_ratio", partial(columns.number, digits=3)),
    KEYS,
)
PAIRS = (
    text_column("quicker below", "label"),
    text_column("quicker above", "other"),
    TIMED,
    SIZES,
    value_column("n", "crossover", lambda n: f"{n:,.0f}"),
)
GROWTH = (
    ROW,
    TIMED,
    SIZES,
    interval_column("exponent of time", "exponent"),
    value_column("of multiply-adds", "theory", columns.number),
)

"""The page of speed: targets, whole sequences, layers, crossovers, and what did not pay.

From records alone: those of kind ``speed`` (``slt_bench.timing.turns``) say how ways of doing one
thing compare, those of kind ``time`` how the time of a layer grows with its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
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
from slt_bench.reporting.latency import BENCHMARKS, duration
from slt_bench.reporting.pages import Page, counted, software
from slt_bench.reporting.published import Line
from slt_bench.reporting.sizes import size_tables
from slt_bench.reporting.tables import Table, frame_of, table_of
from slt_bench.store import Record, Store
from slt_bench.timing.turns import speedup

PAGE = "speed"
TIMES = "slt-bench time --mode forward,training"

TEXT = (
    "Ways of doing one thing are timed in turns in one process, by the processor time of one "
    "thread, in float32. Times as fast: the median over turns of the ratio within a turn; in "
    "brackets the 95 % t-interval of its geometric mean.",
    "Sizes, crossovers and growth are of the layers that slt-bench time measured in fresh "
    "processes; their times and verdicts are in the latency tables.",
)
TARGET_NOTE = (
    "Reach: what is asked for at least on a processor with these instructions; aim: what is hoped "
    "for. A growth exponent has no peer and wants to be small."
)
SEQUENCE_NOTE = (
    "One call is a training iteration (forward, backward, optimiser) or an inference over the "
    "whole sequence. Times another library's GRU is what a user gains, times our own dense one "
    "what structure itself buys. Range: the quickest and the slowest turn."
)
LAYER_NOTE = "One call is a training step. Range: the quickest and the slowest turn."
TRIED_NOTE = (
    "Times as slow: time of the way over that of what is used in its place, as above. Made ready: "
    "compiling and tracing, which is no part of the time."
)


def speed_page(store: Store) -> Page:
    """Tables by processor, from the records of kinds ``speed`` and ``time``."""
    speed = sorted(store.records("speed"), key=_order)
    times = [
        record
        for record in store.records("time")
        if record["status"] == "done" and "protocol" not in record["trial"]
    ]
    tables: list[Table] = []
    for _, group in groupby(speed, key=_processor):
        tables += _compared(list(group))
    times.sort(key=_hardware)
    for hardware, group in groupby(times, key=_hardware):
        tables += size_tables(hardware, list(group))
    text = [*TEXT] if speed or times else []
    if not speed:
        text.append(f"No ways have been compared yet: run {BENCHMARKS}")
    if not times:
        text.append(f"No sizes have been timed yet: run {TIMES}")
    provenance = [f"Measured by: {BENCHMARKS}; {TIMES}", f"Written by: slt-bench report {PAGE}"]
    if speed or times:
        provenance.insert(0, f"Software: {counted(map(software, [*speed, *times]))}.")
    ways = [line for record in speed for line in _ways(record)]
    return Page(
        name=PAGE,
        title="Speed",
        text=tuple(text),
        tables=tuple(tables),
        provenance=tuple(provenance),
        summary=frame_of(ways, list(ways[0]) if ways else []),
        outcomes=(),
        markdown_folder="",
    )


def _processor(record: Record) -> tuple[str, str]:
    return record["trial"]["hardware"], record["trial"]["instruction_set"]


def _order(record: Record) -> tuple[Any, ...]:
    return (*_processor(record), record["trial"]["group"].casefold(), record["key"])


def _hardware(record: Record) -> str:
    return str(record["trial"]["hardware"])


# Ways compared in turns ------------------------------------------------------------------------


def _compared(records: Sequence[Record]) -> Iterator[Table]:
    """The tables of one processor."""
    where = ", ".join(_processor(records[0]))
    tried = [record for record in records if record["facts"].get("tried")]
    whole = [record for record in records if record["facts"].get("headline")]
    rest = [record for record in records if record not in tried and record not in whole]
    if targets := [line for record in records for line in _targets(record)]:
        yield table_of("targets", f"Targets, {where}", TARGET_NOTE, targets, TARGETS)
    if whole:
        peers = list(dict.fromkeys(n for record in whole for n in record["facts"]["headline"]))
        lines = [line for record in whole for line in _ways(record, peers)]
        chosen = (*WAYS, *(_against(name) for name in peers), KEYS)
        yield table_of("sequences", f"Whole sequences, {where}", SEQUENCE_NOTE, lines, chosen)
    if rest:
        lines = [line for record in rest for line in _ways(record)]
        yield table_of("layers", f"Layers, {where}", LAYER_NOTE, lines, (*WAYS, KEYS))
    if tried:
        lines = [line for record in tried for line in _tried(record)]
        title = f"What was tried and did not pay, {where}"
        yield table_of("tried", title, TRIED_NOTE, lines, TRIED)


def _targets(record: Record) -> Iterator[Line]:
    ways = record["timing"]["ways"]
    for row in record["facts"].get("targets", ()):
        small = row.get("smaller_is_better", False)
        met, aimed = (
            (row["ratio"] <= row[goal]) if small else (row["ratio"] >= row[goal])
            for goal in ("reach", "aim")
        )
        verdict = "met, and the aim" if aimed else "met" if met else "below"
        yield {
            "label": row["name"],
            "peer": row["peer"],
            "median": ways[row["ours"]]["median"],
            **_speedup_fields("ratio", (row["ratio"], row["low"], row["high"])),
            "reach": row["reach"],
            "aim": row["aim"],
            "verdict": verdict if met or not row["limit"] else f"{verdict}: {row['limit']}",
            "keys": [record["key"]],
            "stale": [],
        }


def _ways(record: Record, peers: Sequence[str] = ()) -> Iterator[Line]:
    """A line a way, held against each of ``peers`` that the record has."""
    trial, ways = record["trial"], record["timing"]["ways"]
    counts = record["facts"].get("parameter_counts", {})
    for name, way in ways.items():
        line: Line = {
            "label": name,
            "group": trial["group"],
            "sizes": _sizes(trial["sizes"]),
            "hardware": trial["hardware"],
            "instruction_set": trial["instruction_set"],
            "median": way["median"],
            "lowest": min(way["samples"]),
            "highest": max(way["samples"]),
            "turns": len(way["samples"]),
            "parameter_count": counts.get(name),
            "keys": [record["key"]],
            "stale": [],
        }
        for peer in peers:
            if peer in ways and peer != name:
                found = speedup(way["samples"], ways[peer]["samples"])
                line |= _speedup_fields(peer, (found.median, found.low, found.high))
        yield line


def _tried(record: Record) -> Iterator[Line]:
    ways, facts = record["timing"]["ways"], record["facts"]
    for row in facts["tried"]:
        own, instead = ways.get(row["way"]), ways.get(row["instead"])
        line: Line = {
            "label": row["way"],
            "group": record["trial"]["group"],
            "sizes": _sizes(record["trial"]["sizes"]),
            "instead": row["instead"],
            "instead_median": instead["median"] if instead else None,
            "setup_seconds": facts.get("setup_seconds", {}).get(row["way"]),
            "why": row["why"],
            "keys": [record["key"]],
            "stale": [],
        }
        if own and instead:
            found = speedup(instead["samples"], own["samples"])
            line |= {"median": own["median"]}
            line |= _speedup_fields("ratio", (found.median, found.low, found.high))
        else:
            line["why"] = f"not timed: {facts.get('missing', {}).get(row['way'], 'no reason kept')}"
        yield line


def _sizes(sizes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sizes.items())


def _speedup_fields(name: str, values: tuple[float | None, ...]) -> Line:
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


# Columns ---------------------------------------------------------------------------------------


def _against(peer: str) -> Column:
    return interval_column(f"times {peer}", peer)


def _range(line: Line) -> str:
    return f"{duration(line['lowest'])} to {duration(line['highest'])}"


SIZES = text_column("sizes", "sizes", wide=True)
MEDIAN = value_column("time", "median", duration)
TARGETS = (
    ROW,
    Column("against", ("peer",), lambda line: line["peer"] or "(exponent)", "left"),
    MEDIAN,
    interval_column("times as fast", "ratio"),
    value_column("reach", "reach", columns.number),
    value_column("aim", "aim", columns.number),
    text_column("verdict", "verdict", wide=True),
    KEYS,
)
WAYS = (
    ROW,
    text_column("what", "group", wide=True),
    SIZES,
    MEDIAN,
    Column("range", ("lowest", "highest"), _range),
    value_column("weights", "parameter_count", columns.count),
)
TRIED = (
    ROW,
    text_column("what", "group", wide=True),
    SIZES,
    MEDIAN,
    text_column("in its place", "instead"),
    value_column("its time", "instead_median", duration),
    interval_column("times as slow", "ratio"),
    value_column("made ready", "setup_seconds", duration),
    text_column("why", "why", wide=True),
    KEYS,
)

"""The verb ``advise``: which structures fit a size and a budget, by the records of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from slt_bench import registry
from slt_bench.advice import Question
from slt_bench.advice import advise as answer
from slt_bench.commands.cells import TimeRequest, expand
from slt_bench.commands.values import Document
from slt_bench.errors import UsageError
from slt_bench.layers import Unsupported
from slt_bench.listing import lines as aligned
from slt_bench.reporting.columns import interval, metric_name
from slt_bench.reporting.latency import MEASURES, duration, ratio_text
from slt_bench.reporting.outcomes import store_outcomes
from slt_bench.store import Store
from slt_bench.timing.functions import build

#: Rows of training that are printed for each task; the document has all.
_MOST_ROWS = 3


def advise(request: TimeRequest, keep: str, store: Store) -> Document:
    """Answer for the one cell that ``request`` names; ``keep``: the share of dense's weights.

    Raises:
        UsageError: a name or a value that does not exist.
    """
    reference = expand(replace(request, baselines=["dense"], match=None))[0][0]
    try:
        build(reference, "meta")
    except Unsupported as error:  # a GRU over a map that is not square
        raise UsageError(str(error)) from None
    names = [name for name in request.baselines or registry.without_controls() if name != "dense"]
    times = [*store.failures("time"), *store.records("time")]
    document = answer(Question(reference, _share(keep)), names, times, store_outcomes(store))
    return {**document, "exit_code": 0}


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise UsageError(f"--keep {text!r}: give the share of dense's weights, below 1, e.g. 0.1")
    return value


# For people ------------------------------------------------------------------------------------


def advise_lines(document: Document) -> Iterator[str]:
    """A document of :func:`advise` as text."""
    yield from _question(document["question"])
    yield ""
    if document["fits"]:
        yield "Fits and was timed here, fastest first:"
    else:
        yield "Nothing that fits has been timed here."
    rows = [_time_cells(line, row, i) for i, row in enumerate(document["fits"], 1)
            for line in row["times"]]  # fmt: skip
    dense = document["dense"]
    rows += [_time_cells(line, dense, None) for line in (dense["times"] if dense else ())]
    yield from (f"  {line}" for line in aligned(rows))
    if dense is None:
        yield "  dense: not timed here"
    if document["fits"]:
        yield (
            "Time: of a call, median [lowest, highest] over rounds. Ratio: to dense of the same "
            "round, mean [95 % interval]; verdicts are corrected over these rows."
        )
    yield from _training(document)
    yield from _section("Cannot fit", document["cannot_fit"])
    yield from _section("Not measured", document["not_measured"])
    yield from _section(
        "Timed here too, but their classes are not known: give each with -b FILE.py",
        [{"baseline": name} for name in document["unknown"]],
    )
    if document["commands"]:
        yield ""
        yield "To measure it:"
        yield from (f"  {command}" for command in document["commands"])


def _question(asked: Document) -> Iterator[str]:
    n, m = asked["shape"]
    steps = f", {asked['steps']} steps" if "steps" in asked else ""
    compiled = ", compiled" if asked.get("compiled") else ""
    threads = f"{asked['threads']} thread{'s' * (asked['threads'] > 1)}"
    yield (
        f"{n} -> {m}, batch {asked['batch']}, {asked['mode']}{steps}{compiled}, {asked['dtype']}, "
        f"{threads}, on {asked['hardware']}"
    )
    yield (
        f"Budget: {asked['budget']:,} weights, {asked['keep']:g} of dense's "
        f"{asked['dense_weights']:,}; up to {asked['tolerance']:.0%} more counts as on budget."
    )


def _time_cells(line: Document, row: Document, rank: int | None) -> dict[str, str]:
    bounds = f"[{duration(line['lowest'])}, {duration(line['highest'])}]"
    ratio = f"ratio {ratio_text(line)}" if line["ratio"] is not None else ""
    marks = [f"noisy: {'; '.join(row['noisy'])}"] if row["noisy"] else []
    marks += ["stale"] if row["stale"] else []
    return {
        "rank": str(rank or ""),
        "label": row["label"],
        "measure": "" if line["measure"] == MEASURES["call"] else line["measure"],
        "time": f"{duration(line['median'])} {bounds}",
        "ratio": ratio,
        "verdict": line["verdict"] or ("" if rank else "does not fit: for reference"),
        "weights": f"{row['weights']:,} weights ({100 * row['share']:.3g} %)",
        "marks": ", ".join(marks),
    }


def _training(document: Document) -> Iterator[str]:
    """Rows of training, in the order of the times."""
    order = list(dict.fromkeys([row["baseline"] for row in document["fits"]]))
    order += [name for name in document["trained"] if name not in order]
    found = [(name, document["trained"][name]) for name in order if name in document["trained"]]
    if not found:
        return
    yield ""
    yield (
        "What training came to: the test metric after the last update, mean [95 % interval] over "
        "seeds, with dense and the floor (this map removed) of the same protocol:"
    )
    for name, rows in found:
        yield f"  {name}"
        for task, group in groupby(rows, key=lambda row: row["task"]):
            same = list(group)
            for row in same[:_MOST_ROWS]:
                yield f"    {task}, {_outcome(row)}"
                yield f"      {_conditions(row)}"
            if len(same) > _MOST_ROWS:
                yield f"    {task}: {len(same) - _MOST_ROWS} more rows with --json"


def _outcome(row: Document) -> str:
    metric = row["metric"]
    digits = 2 if metric["unit"] == "%" else 3

    def text(value: Document | None) -> str:
        if value is None:
            return "no record"
        return interval(value["mean"], value["low"], value["high"], digits)

    value, floor = row["value"], row["floor"]
    parts = [f"{metric_name(metric['name'], metric['unit'])}: {text(value)}"]
    parts.append(f"{value['n']} seed{'s' * (value['n'] > 1)}")
    if row["solved"] is not None:
        parts.append(f"solved {row['solved']}/{value['n']}")
    if row["unfinished"]:
        parts.append(row["unfinished"])
    named = f"floor ({floor['baseline']})" if floor else "floor"
    return f"{', '.join(parts)}; dense {text(row['dense'])}; {named} {text(floor)}"


def _conditions(row: Document) -> str:
    changed = {**row["settings"], **row["options"]}
    words = " ".join(f"{name}={value}" for name, value in changed.items())
    parts = [
        f"{'+'.join(row['slots'])} keeps {100 * row['share']:.3g} % of its weights",
        words or "defaults",
        f"budget {row['budget']}, data set {row['dataset']}",
    ]
    if row["timed"] is False:
        parts.append("not the settings that were timed")
    if row["stale"]:
        parts.append(f"{row['stale']} of {row['value']['n']} records stale")
    return "; ".join(parts)


def _section(title: str, entries: Sequence[Document]) -> Iterator[str]:
    if entries:
        yield ""
        yield f"{title}:"
        for entry in entries:
            name = entry.get("label", entry["baseline"])
            yield f"  {name}: {entry['reason']}" if "reason" in entry else f"  {name}"

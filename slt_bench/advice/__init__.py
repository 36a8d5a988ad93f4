"""Which structures fit a size and a budget, from records alone: what was measured, and what not.

Functions over records and the registry; nothing is read from disk and nothing is timed. Nothing is
made up either: a time stands for its own shape, batch, mode and machine, and for no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from slt_bench import matching, registry
from slt_bench.advice.gaps import Command, time_gaps, training_gaps
from slt_bench.advice.question import Question, Sized, size
from slt_bench.errors import UsageError
from slt_bench.planning import is_stale
from slt_bench.reporting import latency
from slt_bench.reporting.outcomes import Outcome
from slt_bench.reporting.trained import Trained, timeless, trained
from slt_bench.store import Record
from slt_bench.timing.cell import row_label
from slt_bench.trial import BUDGETS, Trial

__all__ = ["Question", "advise"]

Document = dict[str, Any]
_TIMES = ("measure", "lowest", "median", "highest", "rounds")
_RATIO = ("ratio", "ratio_low", "ratio_high", "verdict")


def advise(
    question: Question,
    baselines: Sequence[str],
    times: Sequence[Record],
    outcomes: Sequence[Outcome],
) -> Document:
    """What is known of each of ``baselines`` (names or files) at a size and a budget.

    ``times``: records of kind ``time``, failures among them. ``outcomes``: what was trained.

    Returns ``{question, dense, fits, trained, cannot_fit, not_measured, commands, unknown}``:
    ``fits`` are the layers that were timed, fastest first; ``trained`` has the rows of training by
    baseline; ``commands`` measure what is missing; ``unknown`` baselines were timed too, but their
    classes are not known here.

    Raises:
        UsageError: there is no such baseline.
    """
    sizes = {sized.name: sized for sized in (size(question, name) for name in baselines)}
    able = [sized for sized in sizes.values() if not sized.reason]
    here = [r for r in times if r["status"] == "done" and question.is_about(r["trial"])]
    rows = [
        _row(question, record, sizes[name].baseline)
        for record in here
        if (name := record["trial"]["baseline"]) in sizes
    ]
    fitting = _judged([row for row in rows if row["weights"] <= question.most])
    dense = next((r for r in here if r["key"] == question.reference.key), None)
    gaps = [gap for sized in able for gap in time_gaps(question, sized, times, rows)]
    gaps += [gap for sized in able for gap in training_gaps(question, sized, outcomes)]
    commands: dict[Command, list[str]] = {}
    for gap in gaps:
        if gap.command:
            commands.setdefault(gap.command, []).append(gap.sized.source)
    names = {record["trial"]["baseline"] for record in here}
    return {
        "question": {
            **question.reference.group,
            "keep": question.keep,
            "dense_weights": question.dense_weights,
            "budget": question.budget,
            "tolerance": matching.TOLERANCE,
        },
        "dense": dense
        and _plain(_row(question, dense, registry.load_baseline(question.reference.baseline))),
        "fits": fitting,
        "trained": _trained(question, able, fitting, outcomes),
        "cannot_fit": [
            {"baseline": sized.name, "reason": sized.reason}
            for sized in sizes.values()
            if sized.reason
        ],
        "not_measured": [
            {
                "baseline": gap.sized.name,
                "label": gap.label,
                "reason": gap.reason,
                "command": gap.command and gap.command.line(question, [gap.sized.source]),
            }
            for gap in gaps
        ],
        "commands": [command.line(question, sources) for command, sources in commands.items()],
        "unknown": sorted(names - sizes.keys() - registry.entries("baselines").keys()),
    }


# Times -----------------------------------------------------------------------------------------


def _row(question: Question, record: Record, baseline: type[Any]) -> Document:
    """A record of this question as a row; its times are the lines of the latency page."""
    weights = record["parameter_count"] - question.outside
    made_with = record["provenance"].get("source", {}).get("baseline")
    return {
        "baseline": record["trial"]["baseline"],
        "label": row_label(record["trial"]),
        "settings": record["trial"]["settings"],
        "weights": weights,
        "share": weights / question.dense_weights,
        "times": latency.record_lines(record),
        "noisy": record["timing"]["noisy"],
        "stale": made_with != registry.source_digest(baseline),
        "key": record["key"],
    }


def _judged(rows: Sequence[Document]) -> list[Document]:
    """Fastest first, with verdicts over all of these rows."""
    latency.judge([line for row in rows for line in row["times"]])
    rows = sorted(rows, key=lambda row: (row["times"][0]["median"], row["label"]))
    return [_plain(row) for row in rows]


def _plain(row: Document) -> Document:
    names = (*_TIMES, *_RATIO)
    return {**row, "times": [{name: line.get(name) for name in names} for line in row["times"]]}


# Training --------------------------------------------------------------------------------------


def _trained(
    question: Question,
    able: Sequence[Sized],
    fitting: Sequence[Document],
    outcomes: Sequence[Outcome],
) -> dict[str, list[Document]]:
    """Rows of training by baseline; of each task the longest budget first, then settings that were
    timed, then those that keep most nearly the share in question."""
    found = trained(outcomes)
    rows: dict[str, list[Document]] = {}
    for sized in able:
        timed = [timeless(row["settings"]) for row in fitting if row["baseline"] == sized.name]
        mine = [_training_row(one, timed) for one in found if one.outcome.baseline == sized.name]
        mine.sort(
            key=lambda row: (
                *(row["task"], -BUDGETS.index(row["budget"]), not row["timed"]),
                abs(row["share"] - question.keep),
            )
        )
        if mine:
            rows[sized.name] = mine
    return rows


def _training_row(one: Trained, timed: Sequence[Mapping[str, Any]]) -> Document:
    outcome = one.outcome
    records = list(outcome.records.values())
    return {
        "task": outcome.task,
        "budget": outcome.budget,
        "dataset": outcome.dataset,
        "slots": list(outcome.slots),
        "settings": dict(outcome.settings),
        "options": dict(outcome.options),
        "timed": timeless(outcome.settings) in timed if timed else None,
        "share": one.share,
        "metric": one.metric,
        "value": asdict(one.value),
        "unfinished": outcome.unfinished,
        "solved": sum(r["metrics"]["solved"] for r in records)
        if "solved" in records[0]["metrics"]
        else None,
        "dense": one.dense and asdict(one.dense),
        "floor": one.removed and {"baseline": one.floor_name, **asdict(one.removed)},
        "stale": sum(_is_stale(record) for record in records),
        "keys": [record["key"] for record in records],
    }


def _is_stale(record: Record) -> bool:
    """False where the task or the baseline is not installed: then nobody can tell."""
    try:
        return is_stale(Trial.from_identity(record["trial"]), record)
    except UsageError:
        return False

"""Every number of a page in one DataFrame: a line for each row of a table, a column a quantity.

All statistics come from :mod:`slt_bench.evidence`; tables only choose columns and print them.
What cannot be had is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

import pandas as pd

from slt_bench import evidence
from slt_bench.reporting.outcomes import NOT_RUN, Outcome, final, scores, settled
from slt_bench.reporting.published import Line, published
from slt_bench.store import Record

if TYPE_CHECKING:
    from slt_bench.suites import Suite

#: The columns of a summary. Values by seed map each seed to its value, or to how its trial ended.
FIELDS = (
    # which row
    *("id", "label", "task", "baseline", "slots", "settings", "dataset", "budget"),
    *("role", "reference", "seeds", "keys", "stale"),
    # the metric, on the test split after the last update; n of the seeds asked for have finished
    *("metric", "unit", "higher_is_better", "n", "asked", "unfinished", "reasons"),
    *("mean", "sd", "by_seed", "loss_mean", "loss_sd"),
    # tasks that a trial solves or not: the settled accuracy, its interquartile mean over seeds
    *("settled_by_seed", "settled_iqm", "solved", "updates_to_solve"),
    # against dense (seed by seed; positive is better) and from the floor, with 95 % intervals
    *("compared", "difference", "difference_low", "difference_high", "difference_n"),
    *("gap", "gap_low", "gap_high", "recovered", "recovered_low", "recovered_high"),
    *("recovered_reason", "recovered_n", "recovered_method"),
    # trainable weights and multiply-adds; reductions against dense, in percent
    *("parameter_count", "dense_parameter_count", "reduction"),
    *("slot_parameter_count", "dense_slot_parameter_count", "slot_reduction"),
    *("multiply_adds", "dense_multiply_adds", "multiply_add_reduction"),
    # times seen while training, on ``machine``; step_n seeds
    *("step_ms", "step_ms_p10", "step_ms_p90", "step_n", "step_ratio", "training_seconds"),
    *("strategy", "machine"),
    # the published number and the verdict on it
    *("published", "published_difference", "standing", "margin", "verdict", "cause", "known"),
    *("published_loss", "printed_parameters", "published_parameter_count"),
)


def summarise(
    outcomes: Sequence[Outcome], suite: Suite | None = None, stale: Collection[str] = ()
) -> pd.DataFrame:
    """One line for each outcome, with the columns FIELDS.

    ``suite`` gives margins and classes; ``stale`` has whole keys. Lists and mappings by seed stay
    objects.
    """
    lines = [
        {
            **_identity(outcome, stale),
            **_measured(outcome),
            **_compared(outcome),
            **_parameters(outcome),
            **_latency(outcome),
            **published(outcome, suite),
        }
        for outcome in outcomes
    ]
    rows = [[line.get(name) for name in FIELDS] for line in lines]
    return pd.DataFrame(rows, columns=list(FIELDS), dtype=object)


def _identity(outcome: Outcome, stale: Collection[str]) -> Line:
    metric = outcome.metric or {}
    in_store = [seed for seed in outcome.keys if outcome.status(seed) != NOT_RUN]
    keys = [outcome.keys[seed] for seed in in_store]
    return {
        "id": outcome.id,
        "label": outcome.label,
        "task": outcome.task,
        "baseline": outcome.baseline,
        "slots": "+".join(outcome.slots),
        "settings": outcome.changes,
        "dataset": outcome.dataset,
        "budget": outcome.budget,
        "role": outcome.role,
        "reference": outcome.reference,
        "metric": metric.get("name"),
        "unit": metric.get("unit"),
        "higher_is_better": metric.get("higher_is_better"),
        "seeds": list(outcome.keys),
        "keys": keys,
        "stale": [key for key in keys if key in stale],
        "unfinished": outcome.unfinished,
        "reasons": outcome.reasons,
    }


def _measured(outcome: Outcome) -> Line:
    """``by_seed`` has the final metric of each seed, or its status in words where it has none."""
    line: Line = {"n": len(outcome.records), "asked": len(outcome.keys)}
    name = (outcome.metric or {}).get("name")
    values = final(outcome.records, name) if name else {}
    statuses = {seed: outcome.status(seed) for seed in outcome.keys}
    line["by_seed"] = {seed: values.get(seed, statuses[seed]) for seed in outcome.keys}
    for prefix, per_seed in (("", values), ("loss_", final(outcome.records, "loss"))):
        interval = evidence.mean_interval(list(per_seed.values())) if per_seed else None
        line[f"{prefix}mean"] = interval.mean if interval else None
        line[f"{prefix}sd"] = interval.sd if interval else None
    calm = settled(outcome.records)
    line["settled_by_seed"] = {seed: calm.get(seed, statuses[seed]) for seed in outcome.keys}
    line["settled_iqm"] = evidence.interquartile_mean(list(calm.values())) if calm else None
    line["solved"] = sum(r["metrics"]["solved"] for r in outcome.records.values()) if calm else None
    line["updates_to_solve"] = {
        seed: record["metrics"]["updates_to_solve"]
        for seed, record in outcome.records.items()
        if seed in calm
    }
    return line


def _compared(outcome: Outcome) -> Line:
    """Against dense seed by seed, and recovered from the floor, by settled or the final metric."""
    line: Line = {"compared": outcome.compared}
    if not outcome.compared or not outcome.metric:
        return line
    own, dense, floor = scores(outcome.records), scores(outcome.dense), scores(outcome.floor)
    higher = bool(outcome.metric["higher_is_better"])
    if own.keys() & dense.keys():
        difference = evidence.paired_difference(own, dense, higher_is_better=higher)
        line["difference"] = difference.interval.mean
        line["difference_low"] = difference.interval.low
        line["difference_high"] = difference.interval.high
        line["difference_n"] = difference.interval.n
    if not outcome.dense or not outcome.floor:
        line["recovered_reason"] = f"no record of {'the floor' if outcome.dense else 'dense'}"
    else:
        ratio = evidence.recovered(own, floor, dense, higher_is_better=higher)
        line["recovered"] = ratio.value
        line["recovered_low"] = ratio.low
        line["recovered_high"] = ratio.high
        line["recovered_reason"] = ratio.reason
        line["recovered_n"] = ratio.n
        line["recovered_method"] = ratio.method
        line["gap"], line["gap_low"], line["gap_high"] = ratio.gap, ratio.gap_low, ratio.gap_high
    return line


def _parameters(outcome: Outcome) -> Line:
    """Exact counts; a reduction is the share of dense's that is saved, in percent."""
    if not (record := outcome.first):
        return {}
    facts = record["facts"]
    slots = facts["slots"].values()
    counts = [slot["multiply_adds"] for slot in slots]
    known = bool(counts) and None not in counts
    line: Line = {
        "parameter_count": record["parameter_count"],
        "dense_parameter_count": facts["dense_parameter_count"],
        "slot_parameter_count": facts["slot_parameter_count"] if slots else None,
        "dense_slot_parameter_count": facts["dense_slot_parameter_count"] if slots else None,
        "multiply_adds": sum(counts) if known else None,
        "dense_multiply_adds": sum(s["in_features"] * s["out_features"] for s in slots)
        if slots
        else None,
    }
    line["reduction"] = _saved(record["parameter_count"], facts["dense_parameter_count"])
    line["slot_reduction"] = _saved(
        line["slot_parameter_count"], line["dense_slot_parameter_count"]
    )
    line["multiply_add_reduction"] = _saved(line["multiply_adds"], line["dense_multiply_adds"])
    return line


def _saved(count: int | None, dense: int | None) -> float | None:
    return None if count is None or not dense else 100.0 * (1 - count / dense)


def machine(record: Record) -> str:
    """Processor, instruction sets, threads and device of a record, in words."""
    facts = record["provenance"]
    gpu = facts.get("gpu")
    device = facts["device"] if not gpu else gpu["name"] if isinstance(gpu, dict) else gpu
    sets = ", ".join(facts["instruction_sets"])
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    where = "" if device == "cpu" else f", on {device}"
    return f"{facts['processor']}{f' ({sets})' if sets else ''}, {threads}{where}"


def _latency(outcome: Outcome) -> Line:
    """Medians over the seeds; the ratio to dense uses records of one machine alone."""
    if not outcome.records:
        return {}
    by_machine = _by_machine(outcome.records)
    dense = _by_machine(outcome.dense)
    name = max(by_machine, key=lambda name: (name in dense, len(by_machine[name])))
    here, there = by_machine[name], dense.get(name, [])
    line: Line = {
        "step_ms": _step(here, "median"),
        "step_ms_p10": _step(here, "p10"),
        "step_ms_p90": _step(here, "p90"),
        "step_n": len(here),
        "training_seconds": median(record["timing"]["training_seconds"] for record in here),
        "strategy": here[0]["provenance"]["strategy"],
        "machine": name,
    }
    if there:
        line["step_ratio"] = line["step_ms"] / _step(there, "median")
    return line


def _by_machine(records: Mapping[int, Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records.values():
        groups.setdefault(machine(record), []).append(record)
    return groups


def _step(records: Sequence[Record], name: str) -> float:
    return float(median(record["timing"]["step_ms"][name] for record in records))


def machines(records: Sequence[Record]) -> Counter[str]:
    """How many records each machine made."""
    return Counter(machine(record) for record in records)

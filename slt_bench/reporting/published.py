"""A row held against its published number: difference, verdict, and the verdicts as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from slt_bench import evidence
from slt_bench.reporting.outcomes import Outcome, final
from slt_bench.suites.published import metric_of

if TYPE_CHECKING:
    from slt_bench.suites import Suite

Line = dict[str, Any]  #: a line of a summary: what tables know of one row

#: What a published number is to the trials of its row: of the same experiment, of the same one at
#: its full length, or of another one.
Standing = Literal["comparable", "partial", "not comparable"]


def standing(outcome: Outcome) -> Standing:
    """Whether the published numbers of a row may be held against its trials."""
    if _not_comparable(outcome):
        return "not comparable"
    return "partial" if _partial(outcome) else "comparable"


def published(outcome: Outcome, suite: Suite | None) -> Line:
    """The published number, and the verdict on it where the suite has a margin for its metric."""
    printed = outcome.published
    line: Line = {
        "published_loss": printed.get("loss"),
        "published_parameter_count": printed.get("parameter_count"),
        "printed_parameters": printed.get("printed_parameters"),
        "known": outcome.known,
    }
    name = metric_of(printed)
    if name is None or name != (outcome.metric or {"name": name})["name"]:
        return line
    line["published"] = printed[name]
    margins = suite.margins if suite else {}
    values = list(final(outcome.records, name).values())
    sign = 1 if not outcome.metric or outcome.metric["higher_is_better"] else -1
    if values:
        mean = evidence.mean_interval(values).mean
        line["published_difference"] = sign * (mean - printed[name])
        line["standing"] = standing(outcome)
    if not suite or name not in margins:
        line["cause"] = _not_comparable(outcome)  # says why there is no difference
        return line
    verdict = evidence.verdict(
        printed[name],
        values,
        margins[name],
        higher_is_better=sign > 0,
        classes=_classes(outcome, suite),
        not_comparable=_not_comparable(outcome),
        partial=_partial(outcome),
        not_run=_cost(outcome),
    )
    line["margin"], line["verdict"], line["cause"] = verdict.margin, verdict.name, verdict.reason
    if values and outcome.unfinished:
        line["cause"] += f"; not counted: {outcome.unfinished}"
    return line


def _classes(outcome: Outcome, suite: Suite) -> evidence.Classes | None:
    """The suite's classes, with the chance of this row's task; only for accuracies."""
    metric, record = outcome.metric, outcome.first
    if not suite.classes or not metric or not record or metric["unit"] != "%":
        return None
    if not metric["higher_is_better"]:
        return None
    return evidence.Classes(chance=record["facts"]["trivial"][metric["name"]], **suite.classes)


def _not_comparable(outcome: Outcome) -> str | None:
    """The row's own reason, and what makes its trials another experiment than the published."""
    reasons = [outcome.not_comparable] if outcome.not_comparable else []
    if other := outcome.other_than_paper:
        reasons.append(f"not the published experiment: {other}")
    return "; ".join(reasons) or None


def _partial(outcome: Outcome) -> str | None:
    """The published length is the budget ``paper``; what any other came to is said in updates."""
    if outcome.budget == "paper" or not outcome.first:
        return None
    updates = outcome.first["metrics"]["updates"]
    return f"budget {outcome.budget}: {updates:,} updates, not the published training"


def _cost(outcome: Outcome) -> str:
    """What is missing, and what it would cost by the time that dense took."""
    text = outcome.unfinished
    if outcome.dense:
        records = outcome.dense.values()
        seconds = median(record["timing"]["training_seconds"] for record in records)
        text += f"; dense with the same options took {duration(seconds)} a trial"
    return text


def verdicts(lines: Iterable[Line], suite: str) -> list[dict[str, Any]]:
    """The verdicts of a suite as JSON: one entry for each row that has one."""
    return [
        {
            "id": line["id"],
            "suite": suite,
            "published": line["published"],
            "mean": line["mean"],
            "sd": line["sd"],
            "n": line["n"],
            "verdict": line["verdict"],
            "cause": line["cause"],
            "keys": line["keys"],
        }
        for line in lines
        if line["verdict"]
    ]


def duration(seconds: float) -> str:
    """``8.2 s``, ``3.5 min`` or ``1.2 h``."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"

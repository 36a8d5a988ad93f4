"""What has not been measured of a baseline, or not well, and the command that would measure it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from shlex import quote
from typing import Any, Literal

from slt_bench import registry
from slt_bench.advice.question import Question, Sized, group_of
from slt_bench.reporting import latency
from slt_bench.reporting.outcomes import Outcome
from slt_bench.store import Record
from slt_bench.timing.cell import row_label, shape_label
from slt_bench.timing.rows import DETERMINED
from slt_bench.timing.statistics import ROUNDS_FOR_VERDICT
from slt_bench.trial import BUDGETS

#: Shapes that are named where none is the one in question.
_NEAR = 3


@dataclass(frozen=True)
class Command:
    """A command line without its baselines: those that differ in nothing else are one."""

    verb: Literal["time", "run"]
    tail: str

    def line(self, question: Question, sources: Iterable[str]) -> str:
        names = ",".join(quote(source) for source in dict.fromkeys(sources))
        head = f"slt-bench run -b {names}"
        if self.verb == "time":
            planned = {**question.reference.identity, "baseline": names}
            head = latency.command([{"trial": planned, "status": "planned"}])
        return f"{head} {self.tail}".rstrip()


@dataclass(frozen=True)
class Gap:
    """One thing that is not known; ``command`` is None where no measurement would mend it."""

    sized: Sized
    label: str
    reason: str
    command: Command | None = None


def time_gaps(
    question: Question, sized: Sized, times: Sequence[Record], rows: Sequence[dict[str, Any]]
) -> Iterator[Gap]:
    """Of a baseline that fits: its setting at the budget untimed, or what was timed in doubt.

    ``times``: every record of kind ``time``; ``rows``: what was timed for this question, fitting
    or not.
    """
    mine = [record for record in times if record["trial"]["baseline"] == sized.name]
    rows = [row for row in rows if row["baseline"] == sized.name]
    cell = sized.cell(question)
    label = row_label(cell.identity)
    again = Command("time", f"--match-parameters {sized.match}")
    if all(row["key"] != cell.key for row in rows):
        failure = next((r for r in mine if r["key"] == cell.key and r["status"] != "done"), None)
        if failure is None:
            yield Gap(sized, label, _untimed(question, mine, rows), again)
        else:
            lasting = failure["status"] in DETERMINED
            reason = f"could not be timed: {failure['status']}: {failure['error']}"
            yield Gap(sized, label, reason, None if lasting else again)
    for row in rows:
        if row["weights"] > question.most or not (doubts := list(_doubts(row))):
            continue
        defaults = None if row["settings"] else Command("time", "")
        command = again if row["key"] == cell.key else defaults
        yield Gap(sized, row["label"], f"timed, but {'; '.join(doubts)}", command)


def _doubts(row: dict[str, Any]) -> Iterator[str]:
    if row["noisy"]:
        yield f"noisy ({'; '.join(row['noisy'])})"
    if row["stale"]:
        yield "stale: the baseline has been edited since"
    if (rounds := row["times"][0]["rounds"]) < ROUNDS_FOR_VERDICT:
        yield f"in {rounds} rounds, and a verdict needs {ROUNDS_FOR_VERDICT}"


def _untimed(question: Question, mine: Sequence[Record], rows: Sequence[dict[str, Any]]) -> str:
    """That a setting was not timed, and what was in its place."""
    done = [record["trial"] for record in mine if record["status"] == "done"]
    here = question.reference.group
    other = [
        trial["hardware"]
        for trial in done
        if group_of({**trial, "hardware": here["hardware"]}) == here
        and trial["hardware"] != here["hardware"]
    ]
    near = {
        (*trial["shape"], trial["batch"])
        for trial in done
        if group_of({**trial, "shape": here["shape"], "batch": here["batch"]}) == here
        and not question.is_about(trial)
    }
    details = []
    if rows:
        sizes = (f"{_settings(row)} ({row['weights']:,} weights)" for row in rows)
        details.append(f"here with {', '.join(sizes)}")
    if other:
        details.append(f"on {', '.join(sorted(set(other)))}")
    if near and not rows:
        nearest = sorted(near, key=lambda place: (_distance(place, here), place))[:_NEAR]
        places = (f"{shape_label((n, m))} batch {batch}" for n, m, batch in nearest)
        details.append(f"here at {', '.join(places)}")
    return f"not timed; its times are {' and '.join(details)}" if details else "not timed"


def _settings(row: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in row["settings"].items()) or "defaults"


def _distance(place: tuple[int, int, int], here: dict[str, Any]) -> float:
    there = (*here["shape"], here["batch"])
    return sum(abs(log(a / b)) for a, b in zip(place, there, strict=True))


def training_gaps(question: Question, sized: Sized, outcomes: Sequence[Outcome]) -> Iterator[Gap]:
    """Tasks on which a baseline has no value; a trial is proposed where dense has one already, or
    at the budget that ``slt-bench run`` takes without being told."""
    mine = [outcome for outcome in outcomes if outcome.baseline == sized.name]
    have = {outcome.task for outcome in mine if outcome.records}
    missing: dict[str, list[str]] = {}
    for task in registry.entries("tasks"):
        failed = [reason for o in mine if o.task == task for reason in o.reasons]
        if task in have:
            continue
        if failed:
            yield Gap(sized, sized.name, f"no value on {task}: {failed[0]}")
        else:
            missing.setdefault(_budget(task, outcomes), []).append(task)
    for budget, tasks in missing.items():
        words = [f"-t {','.join(tasks)}", f"--match-parameters {question.keep}"]
        command = Command("run", " ".join(words + ([f"--budget {budget}"] if budget else [])))
        yield Gap(sized, sized.name, f"not trained on {', '.join(tasks)}", command)


def _budget(task: str, outcomes: Sequence[Outcome]) -> str:
    """The longest budget under which dense has been trained on a task, or nothing."""
    budgets = {o.budget for o in outcomes if (o.task, o.baseline) == (task, "dense") and o.records}
    return max(budgets, key=BUDGETS.index, default="")

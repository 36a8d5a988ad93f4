"""Pages: the tables of a suite, or of everything in a store, and where their numbers come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from slt_bench.errors import unknown
from slt_bench.reporting.columns import KEY_LENGTH
from slt_bench.reporting.outcomes import Outcome, store_outcomes, suite_outcomes
from slt_bench.reporting.published import verdicts
from slt_bench.reporting.summary import machines, summarise
from slt_bench.reporting.tables import Table, make_tables
from slt_bench.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from slt_bench.suites import Suite

#: The comparisons that ``--against`` chooses from.
AGAINST = ("published", "dense", "floor")


@dataclass(frozen=True)
class Page:
    """The tables of a suite, or of a store, with what is known of where their numbers come from.

    ``markdown_folder``: where in the reports folder its Markdown stands. ``figures``: draws the
    page's own figures, each with its name; None: those of its outcomes.
    """

    name: str
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...]
    provenance: tuple[str, ...]
    summary: pd.DataFrame
    outcomes: tuple[Outcome, ...] = field(repr=False)
    verdicts: tuple[dict[str, Any], ...] = ()
    markdown_folder: str = "tables"
    figures: Callable[[], Iterator[tuple[str, Figure]]] | None = field(default=None, repr=False)


def suite_page(
    suite: Suite,
    store: Store,
    *,
    against: Collection[str] = AGAINST,
    budget: str | None = None,
    seeds: Sequence[int] | None = None,
    stale: Collection[str] = (),
) -> Page:
    """The tables of a suite.

    Args:
        against: which comparisons are shown, of AGAINST.
        budget, seeds: in place of the suite's own.
        stale: keys of records whose source has been edited since.

    Raises:
        UsageError: a comparison, a budget or a name of the suite does not exist.
    """
    _check_against(against)
    outcomes = suite_outcomes(suite, store, budget, seeds)
    summary = summarise(outcomes, suite, stale)
    budget, seeds = budget or suite.budget, suite.seeds if seeds is None else tuple(seeds)
    command = f"slt-bench run {suite.name} --budget {budget} --seeds {_seeds_argument(seeds)}"
    head = f"Suite {suite.name}"
    missing = [
        f"Missing: {name} is named by the suite, but not installed." for name in suite.missing
    ]
    source = f"Published numbers: {suite.source}." if suite.source.strip("-") else ""
    return Page(
        name=suite.name,
        title=suite.title,
        text=tuple(filter(None, (source, suite.note, *missing))),
        tables=tuple(make_tables(summary, head, against)) if outcomes else (),
        provenance=(*_provenance(outcomes, stale), f"To reproduce: {command}"),
        summary=summary,
        outcomes=tuple(outcomes),
        verdicts=tuple(verdicts(summary.to_dict("records"), suite.name)),
    )


def store_page(store: Store, *, against: Collection[str] = AGAINST) -> Page:
    """Everything in a store, by task. Without a suite there is neither a floor nor a published
    number, and nobody has looked whether records are stale."""
    against = _check_against(against) & {"dense"}
    outcomes = store_outcomes(store)
    summary = summarise(outcomes)
    return Page(
        name="all",
        title="All records",
        text=() if outcomes else ("There are no records yet: run a suite first.",),
        tables=tuple(make_tables(summary, "All records", against)) if outcomes else (),
        provenance=_provenance(outcomes, stale=None),
        summary=summary,
        outcomes=tuple(outcomes),
    )


def _check_against(against: Collection[str]) -> set[str]:
    for name in against:
        if name not in AGAINST:
            raise unknown("comparison", name, AGAINST)
    return {*against}


# Where the numbers come from -----------------------------------------------------------------


def _seeds_argument(seeds: Sequence[int]) -> str:
    """As ``--seeds`` takes them: a count of seeds from 0, or a list."""
    if list(seeds) == list(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def _provenance(outcomes: Sequence[Outcome], stale: Collection[str] | None) -> tuple[str, ...]:
    """Machines, software and stale records; ``stale`` None: not known, and nothing is said."""
    by_key = {record["key"]: record for o in outcomes for record in o.records.values()}
    records = list(by_key.values())
    if not records:
        return ("No trial has finished yet.",)
    lines = (
        f"Machines: {counted(machines(records))}.",
        f"Software: {counted(map(software, records))}.",
    )
    if stale is None:
        return lines
    old = sorted(key[:KEY_LENGTH] for key in by_key if key in stale)
    known = (
        f"Stale (*), because their baseline has been edited since: {len(old)} of {len(records)} "
        f"records, {', '.join(old)}."
        if old
        else "No record is known to be stale."
    )
    return (*lines, known)


def software(record: dict[str, Any]) -> str:
    facts = record["provenance"]
    commit = facts["commit"][:12] if facts.get("commit") else "none"
    changed = " with local changes" if facts.get("dirty") else ""
    return f"slt_bench {facts['version']}, commit {commit}{changed}, torch {facts['torch']}"


def counted(found: Iterable[str]) -> str:
    """``a`` where there is one name; else ``a (2 records); b (1 record)``."""
    names: Counter[str] = found if isinstance(found, Counter) else Counter(found)
    if len(names) == 1:
        return next(iter(names))
    words = (f"{name} ({n} record{'s' * (n > 1)})" for name, n in sorted(names.items()))
    return "; ".join(words)

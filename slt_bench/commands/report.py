"""The verb ``report``: pages of tables and figures from the records."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from slt_bench.commands.values import Document, parse_seeds
from slt_bench.errors import unknown
from slt_bench.planning import plan
from slt_bench.reporting import latency, pages, speed
from slt_bench.reporting.pages import Page
from slt_bench.reporting.rendering import render, write_report
from slt_bench.store import Store
from slt_bench.suites import Suite, load_suite, suite_names
from slt_bench.trial import BUDGETS


def report(
    names: Sequence[str],
    store: Store,
    *,
    formats: Sequence[str],
    against: Sequence[str] = (),
    budget: str | None = None,
    seeds: str | None = None,
) -> Document:
    """Write the pages of suites, ``latency_cpu`` or ``latency_cuda`` for what was timed, ``speed``
    for ways compared, or ``all`` for every trial in the store, and say what they hold.

    Without names: every suite that has records, else ``all``. Without a budget: the suite's own,
    or the longest that has records.
    """
    if budget is not None and budget not in BUDGETS:
        raise unknown("budget", budget, BUDGETS)
    chosen = None if seeds is None else parse_seeds(seeds)
    comparisons = tuple(against) or pages.AGAINST
    known = [*suite_names(), *latency.PAGES, speed.PAGE, "all"]
    made = []
    for name in names or _with_records(store) or ["all"]:
        if name == "all":
            page = pages.store_page(store, against=comparisons)
        elif name in latency.PAGES:
            page = latency.latency_page(store, name)
        elif name == speed.PAGE:
            page = speed.speed_page(store)
        else:
            if name not in known and not name.endswith(".toml"):
                raise unknown("suite or page", name, known)
            suite = load_suite(name)
            used = budget or _longest_budget(suite, store) or suite.budget
            trials = suite.trials(used, chosen)
            stale = {p.trial.key for p in plan(trials, store) if p.status == "stale"}
            page = pages.suite_page(
                suite, store, against=comparisons, budget=used, seeds=chosen, stale=stale
            )
        files = write_report(page, store.reports, formats)
        made.append((page, files))
    return {
        "text": "\n".join(_for_terminal(page, render(page, "md"), files) for page, files in made),
        "document": {
            "pages": [
                {
                    "name": page.name,
                    "rows": json.loads(page.summary.to_json(orient="records")),
                    "verdicts": list(page.verdicts),
                    "files": [str(file) for file in files],
                }
                for page, files in made
            ]
        },
    }


#: A page with more tables than this is printed up to its front tables; its file has them all.
_MOST_TABLES = 6
_FRONT_TABLES = 2


def _for_terminal(page: Page, text: str, files: Sequence[Path]) -> str:
    """The Markdown of a page, cut where it is long, and the files that were written."""
    if len(page.tables) > _MOST_TABLES:
        parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
        text = "".join(parts[: 1 + _FRONT_TABLES])
        text += f"({len(page.tables) - _FRONT_TABLES} more tables in the files)\n"
    return text + "\nWritten:\n" + "".join(f"  {file}\n" for file in files)


def _with_records(store: Store) -> list[str]:
    return [name for name in suite_names() if _longest_budget(load_suite(name), store)]


def _longest_budget(suite: Suite, store: Store) -> str | None:
    """The suite's own budget if it has a record there, else the longest that has one."""
    records = list(store.records("train"))
    have = {record["key"]: record["trial"]["budget"] for record in records}
    for budget in (suite.budget, *reversed(BUDGETS)):
        trials = suite.trials(budget, records=records) if budget in have.values() else []
        if any(trial.key in have for trial in trials):
            return budget
    return None

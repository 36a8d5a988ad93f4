"""What the verbs of the command line do: they take plain values and return plain documents."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_bench import datasets, matching, planning, provenance, registry
from slt_bench.engines import Order, load_engine
from slt_bench.errors import UsageError, unknown
from slt_bench.planning import Planned, plan
from slt_bench.progress import Watch
from slt_bench.runner import Ending
from slt_bench.store import Store, find_reports
from slt_bench.suites import Suite, load_suite, suite_names
from slt_bench.trial import BUDGETS, Sweep, Trial, matrix, parse_value, shard

if TYPE_CHECKING:
    from slt_bench.reporting.pages import Page

Document = dict[str, Any]

__all__ = ["Request", "check", "describe", "execute", "expand", "open_store", "plan", "report"]


def open_store(results: str | None) -> Store:
    return Store(find_reports(results))


# Which trials --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """The trials that a command line asks for."""

    suites: Sequence[str] = ()
    baselines: Sequence[str] = ()
    tasks: Sequence[str] = ()
    slots: str | None = None
    changes: Sequence[str] = ()
    match: str | None = None
    seeds: str | None = None
    budget: str | None = None
    dtype: str = "float32"
    shard: str | None = None


def expand(request: Request) -> tuple[list[Trial], list[str]]:
    """The trials of a request, and notes on what the size solver picked.

    Raises:
        UsageError: a name or a value that does not exist, or a request for nothing.
    """
    if request.budget is not None and request.budget not in BUDGETS:
        raise unknown("budget", request.budget, BUDGETS)
    _refuse_two_sources("baselines", request.baselines)
    _refuse_two_sources("tasks", request.tasks)
    notes: list[str] = []
    if request.suites:
        trials = _suite_trials(request)
    elif request.baselines or request.tasks:
        trials = _matrix_trials(request)
        if request.match is not None:
            trials, notes = _match(trials, matching.parse_target(request.match))
    else:
        raise UsageError("nothing to run: name a suite ('slt-bench list suites') or give -b or -t")
    if request.shard:
        if not (found := re.fullmatch(r"(\d+)/(\d+)", request.shard)):
            raise UsageError(f"--shard {request.shard!r} is not I/N: give 1/4 to 4/4")
        trials = shard(trials, int(found[1]), int(found[2]))
    return trials, notes


def _refuse_two_sources(kind: registry.Kind, references: Sequence[str]) -> None:
    """Two classes under one name would share their keys, and one of them would never run."""
    sources: dict[str, str] = {}
    for entry in (registry.resolve(kind, reference) for reference in references):
        if sources.setdefault(entry.name, entry.source) != entry.source:
            raise UsageError(f"two classes are called {entry.name!r}: rename one of them")


def _suite_trials(request: Request) -> list[Trial]:
    for option, value in (
        ("--set", request.changes),
        ("--slots", request.slots),
        ("--match-parameters", request.match),
    ):
        if value:
            raise UsageError(
                f"{option} changes what a suite is: give it with -b and -t instead of a suite"
            )
    if request.dtype != "float32":
        raise UsageError("suites run in float32: give --dtype with -b and -t instead of a suite")
    seeds = None if request.seeds is None else parse_seeds(request.seeds)
    unique: dict[str, Trial] = {}
    for name in request.suites:
        suite = load_suite(name).narrowed(request.baselines, request.tasks)
        for trial in suite.trials(request.budget, seeds):
            unique.setdefault(trial.key, trial)
    return list(unique.values())


def _matrix_trials(request: Request) -> list[Trial]:
    baselines = list(request.baselines) or [
        name
        for name in registry.entries("baselines")
        if not registry.is_control(registry.load_baseline(name))
    ]
    tasks = list(request.tasks) or list(registry.entries("tasks"))
    settings, options = _parse_changes(request.changes, baselines, tasks)
    return matrix(
        tasks,
        baselines,
        seeds=parse_seeds(request.seeds or "1"),
        slots=None if request.slots is None else request.slots.split("+"),
        settings=settings,
        options=options,
        budget=request.budget or "quick",
        dtype=request.dtype,
        sweep_grids=request.match is None,
    )


def _match(trials: Sequence[Trial], target: int | float) -> tuple[list[Trial], list[str]]:
    chosen: dict[str, Trial] = {}
    notes = []
    solved: dict[str, list[Trial]] = {}
    for trial in trials:
        shape = dataclasses.replace(trial, seed=0)
        if shape.key not in solved:
            found = planning.matched(shape, target)
            solved[shape.key] = [shape] if found is None else found[0]
            notes.append(_match_note(shape, None if found is None else found[1]))
        for sized in solved[shape.key]:
            one = dataclasses.replace(sized, seed=trial.seed)
            chosen.setdefault(one.key, one)
    return list(chosen.values()), notes


def _match_note(trial: Trial, match: matching.Match | None) -> str:
    where = f"match: {trial.task} {trial.baseline}"
    if not trial.slots:
        return f"{where}: fills no slot, kept as it is"
    if match is None:
        return f"{where}: cannot have these sizes, kept as it is"
    picked = "no size setting" if match.setting is None else f"{match.setting}={match.value}"
    note = f"{where}: {picked}, {match.count:,} weights for {match.target:,} "
    note += f"({match.deviation:+.1%})"
    if not match.unmatched:
        return note
    other = f", {match.setting}={match.neighbour} runs too" if match.neighbour else ""
    return f"{note}: unmatched{other}"


def parse_seeds(text: str) -> tuple[int, ...]:
    """``5`` -> (0, 1, 2, 3, 4); ``0,3,4`` -> (0, 3, 4); ``7,`` -> (7,)."""
    if not re.fullmatch(r"\d+|(\d+,)+\d*", text):
        raise UsageError(f"--seeds {text!r}: give a count (5) or a list (0,3,4)")
    if "," in text:
        return tuple(dict.fromkeys(int(word) for word in text.split(",") if word))
    if int(text) == 0:
        raise UsageError("--seeds 0 runs nothing: give a count from 1, or 0, for seed 0 alone")
    return tuple(range(int(text)))


def _parse_changes(
    changes: Sequence[str], baselines: Sequence[str], tasks: Sequence[str]
) -> tuple[Sweep, Sweep]:
    """``low_rank.rank=8,16`` -> ({"low_rank": {"rank": [8, 16]}}, {}), options likewise."""
    settings: dict[str, dict[str, list[Any]]] = {
        registry.resolve("baselines", name).name: {} for name in baselines
    }
    options: dict[str, dict[str, list[Any]]] = {
        registry.resolve("tasks", name).name: {} for name in tasks
    }
    for change in changes:
        found = re.fullmatch(r"(\w+)\.(\w+)=(.+)", change)
        if not found:
            raise UsageError(f"--set {change!r}: give NAME.SETTING=VALUE, e.g. low_rank.rank=8,16")
        name, setting, text = found.groups()
        for sweep in (settings, options):
            if name in sweep:
                sweep[name][setting] = [parse_value(word) for word in _split(text)]
                break
        else:
            raise unknown("baseline or task in this run", name, [*settings, *options])
    return settings, options


def _split(text: str) -> list[str]:
    """Split at commas that stand outside brackets."""
    return re.findall(r"(?:\[[^\]]*\]|[^,\[])+", text)


def seconds(text: str) -> float:
    """``90``, ``90s``, ``9m``, ``2h`` -> seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise UsageError(f"{text!r} is no length of time: give 90s, 9m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


# Running them --------------------------------------------------------------------------------


def describe(planned: Sequence[Planned], notes: Sequence[str] = ()) -> Document:
    """What ``--dry-run`` says: every trial with its state and exact parameter count."""
    counts = planning.parameter_counts([p.trial for p in planned])
    rows = [
        {
            "key": p.trial.key,
            "label": p.trial.label,
            **{k: v for k, v in p.trial.identity.items() if k not in ("schema", "kind")},
            "status": "unsupported" if counts[p.trial.key] is None else p.status,
            "message": p.message,
            "parameter_count": counts[p.trial.key],
        }
        for p in planned
    ]
    return {"trials": rows, "notes": list(notes), "exit_code": 0}


def execute(
    planned: Sequence[Planned],
    store: Store,
    *,
    engine: str = "local",
    device: str = "cpu",
    data: str | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    timeout: float | None = None,
    time_limit: float | None = None,
    checkpoint_seconds: float = 30.0,
    retries: int = 0,
    force: bool = False,
    stale: str = "keep",
) -> Document:
    """Run what is due and say how every trial that was asked for stands."""
    deadline = None if time_limit is None else time.monotonic() + time_limit
    run_trials = load_engine(engine)
    if engine == "inline":
        for option, value in (("--timeout", timeout), ("--retries", retries), ("--jobs", jobs)):
            if value:
                raise UsageError(f"{option} needs a process a trial: leave out --engine inline")
    trials = planning.due(planned, stale=stale, force=force)
    planning.parameter_counts(trials)  # what cannot be built with the given values is said now
    store.check_writable()
    folder = None if data is None else Path(data).resolve()
    for name in sorted({t.dataset for t in trials} & set(datasets.names())):
        try:
            datasets.fetch(name, folder)
        except datasets.DataUnavailable as error:
            raise UsageError(str(error)) from None
    cores = provenance.available_cores()
    jobs = jobs or cores
    order = Order(
        reports=store.reports.resolve(),
        device=check_device(device),
        data=folder,
        jobs=jobs,
        threads=threads or max(1, cores // jobs),
        timeout=timeout,
        deadline=deadline,
        retries=retries,
        checkpoint_seconds=checkpoint_seconds,
    )
    endings: dict[str, Ending] = {}
    if trials:
        with Watch(len(trials)) as watch:
            endings = run_trials(trials, order, watch)
    return _standing(planned, {t.key for t in trials}, endings, store)


def check_device(name: str) -> str:
    import torch

    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"no device {name!r}: give cpu, cuda or cuda:0")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"no CUDA device for --device {name}: torch finds none; use cpu")
    return name


def _standing(
    planned: Sequence[Planned], ran: set[str], endings: dict[str, Ending], store: Store
) -> Document:
    rows = []
    for p in planned:
        standing: tuple[str, str] = ("not started", "")
        if p.trial.key not in ran:
            standing = (p.status, p.message)
        elif ending := endings.get(p.trial.key):
            standing = (ending.status, ending.message)
        status, message = standing
        rows.append(
            {"key": p.trial.key, "label": p.trial.label, "status": status, "message": message}
        )
    found = {row["status"] for row in rows}
    code = 0
    if found - {"done", "stale", "unsupported"}:
        code = 4 if found & {"stopped", "not started"} else 1
    return {"trials": rows, "notes": [], "reports": str(store.reports), "exit_code": code}


def lines(document: Document) -> Iterator[str]:
    """A document of :func:`describe` or :func:`execute` for people."""
    yield from document["notes"]
    dry = "reports" not in document
    for row in document["trials"]:
        if dry:
            count = row["parameter_count"]
            text = "-" if count is None else f"{count:,}"
            yield f"{row['key'][:8]}  {row['status']:<11}  {text:>10}  {row['label']}"
        elif row["message"]:
            yield f"{row['key'][:8]}  {row['status']}: {row['label']}: {row['message']}"
    counts = Counter(row["status"] for row in document["trials"])
    total = ", ".join(f"{count} {name}" for name, count in counts.items())
    yield f"{len(document['trials'])} trials: {total or 'none'}"
    if document["exit_code"] == 4:
        yield "stopped at the time limit: the same command goes on from here"


# Reports and checks --------------------------------------------------------------------------


def report(
    names: Sequence[str],
    store: Store,
    *,
    formats: Sequence[str],
    against: Sequence[str] = (),
    budget: str | None = None,
    seeds: str | None = None,
) -> Document:
    """Write the pages of suites, ``latency_cpu`` or ``latency_cuda`` for what was timed, or ``all``
    for every trial in the store, and say what they hold.

    Without names: every suite that has records, else ``all``. Without a budget: the suite's own,
    or the longest that has records.
    """
    from slt_bench.reporting import latency, pages
    from slt_bench.reporting.rendering import render, write_report

    if budget is not None and budget not in BUDGETS:
        raise unknown("budget", budget, BUDGETS)
    chosen = None if seeds is None else parse_seeds(seeds)
    comparisons = tuple(against) or pages.AGAINST
    known = [*suite_names(), *latency.PAGES, "all"]
    made = []
    for name in names or _with_records(store) or ["all"]:
        if name == "all":
            page = pages.store_page(store, against=comparisons)
        elif name in latency.PAGES:
            page = latency.latency_page(store, name)
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


def check(references: Sequence[str]) -> Document:
    """The findings on each baseline; exit code 3 where one is a violation."""
    from slt_bench.conformance import check as findings_of

    names = list(references) or list(registry.entries("baselines"))
    found = {name: [dataclasses.asdict(f) for f in findings_of(name)] for name in names}
    refused = any(f["kind"] == "violation" for each in found.values() for f in each)
    return {"baselines": found, "exit_code": 3 if refused else 0}


def check_lines(document: Document) -> Iterator[str]:
    for name, findings in document["baselines"].items():
        kinds = Counter(f["kind"] for f in findings)
        verdict = "refused" if kinds["violation"] else "passes"
        count = ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in kinds.items())
        yield f"{name}: {verdict}" + (f" ({count})" if count else "")
        for f in findings:
            advice = f" -> {f['advice']}" if f["advice"] else ""
            yield f"  {f['kind']:<9}  {f['check']}: {f['message']}{advice}"

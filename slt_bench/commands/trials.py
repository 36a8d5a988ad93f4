"""The verb ``run``: say what a matrix holds, or run what is due of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from slt_bench import datasets, planning, provenance
from slt_bench.commands.values import Document, check_device
from slt_bench.engines import Order, load_engine
from slt_bench.errors import UsageError
from slt_bench.planning import Planned
from slt_bench.progress import Watch
from slt_bench.runner import Ending
from slt_bench.store import Store


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

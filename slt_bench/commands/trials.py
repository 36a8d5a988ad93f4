"""The verb ``run``: say what a matrix holds, or run what is due of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slt_bench import datasets, planning, provenance
from slt_bench.commands.values import Document, check_device
from slt_bench.engines import Order, engine
from slt_bench.errors import UsageError
from slt_bench.estimate import Duration, Estimate, estimate
from slt_bench.planning import Planned
from slt_bench.progress import Watch
from slt_bench.reporting.published import duration
from slt_bench.runner import Ending
from slt_bench.store import Store


@dataclass(frozen=True)
class Settings:
    """How trials are run, as the command line says it; times in seconds."""

    engine: str = "local"
    device: str = "cpu"
    data: str | None = None
    jobs: int | None = None
    threads: int | None = None
    timeout: float | None = None
    time_limit: float | None = None
    checkpoint_seconds: float = 30.0
    retries: int = 0
    force: bool = False
    stale: str = "keep"

    def order(self, store: Store) -> Order:
        """Raises UsageError: an engine or a device that does not exist, or cannot do this."""
        engine(self.engine)
        if self.engine == "inline":
            for option in ("timeout", "retries", "jobs"):
                if getattr(self, option):
                    raise UsageError(
                        f"--{option} needs a process a trial: leave out --engine inline"
                    )
        cores = provenance.available_cores()
        jobs = self.jobs or cores
        limit = self.time_limit
        return Order(
            reports=store.reports.resolve(),
            device=check_device(self.device),
            data=None if self.data is None else Path(self.data).resolve(),
            jobs=jobs,
            threads=self.threads or max(1, cores // jobs),
            timeout=self.timeout,
            deadline=None if limit is None else time.monotonic() + limit,
            retries=self.retries,
            checkpoint_seconds=self.checkpoint_seconds,
        )


def describe(
    planned: Sequence[Planned], store: Store, settings: Settings, notes: Sequence[str] = ()
) -> Document:
    """What ``--dry-run`` says: every trial with its state, parameter count and time.

    Nothing is written to the store.
    """
    order = settings.order(store)
    counts = planning.parameter_counts([p.trial for p in planned])
    due = planning.due(planned, stale=settings.stale, force=settings.force)
    with Watch(None) as watch:
        found = estimate(
            [t for t in due if counts[t.key] is not None],
            store,
            order,
            engine(settings.engine),
            watch,
        )
    return {
        "trials": [_row(p, counts[p.trial.key], found.durations.get(p.trial.key)) for p in planned],
        "estimate": _summary(found),
        "notes": list(notes),
        "exit_code": 0,
    }


def _row(planned: Planned, count: int | None, expected: Duration | None) -> Document:
    trial = planned.trial
    return {
        "key": trial.key,
        "label": trial.label,
        **{k: v for k, v in trial.identity.items() if k not in ("schema", "kind")},
        "status": "unsupported" if count is None else planned.status,
        "message": planned.message,
        "parameter_count": count,
        "seconds": expected.seconds if expected else None,
        "basis": expected.basis if expected else None,
        "no_estimate": expected.reason if expected else "",
    }


def _summary(found: Estimate) -> Document:
    return {
        "due": len(found.durations),
        "estimated": len(found.known),
        "seconds": found.seconds,
        "waited": found.waited,
        "busy_seconds": found.busy_seconds,
        "at_a_time": found.at_a_time,
        "threads": found.threads,
        "longest": max(found.known, default=None),
        "basis": dict(Counter(expected.basis for expected in found.durations.values())),
    }


def execute(planned: Sequence[Planned], store: Store, settings: Settings) -> Document:
    """Run what is due and say how every trial that was asked for stands."""
    order = settings.order(store)
    trials = planning.due(planned, stale=settings.stale, force=settings.force)
    planning.parameter_counts(trials)  # what cannot be built with the given values is said now
    store.check_writable()
    for name in sorted({t.dataset for t in trials} & set(datasets.names())):
        try:
            datasets.fetch(name, order.data)
        except datasets.DataUnavailable as error:
            raise UsageError(str(error)) from None
    endings: dict[str, Ending] = {}
    if trials:
        with Watch(len(trials)) as watch:
            endings = engine(settings.engine).run_trials(trials, order, watch)
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
    dry = "estimate" in document
    for row in document["trials"]:
        if dry:
            count = row["parameter_count"]
            text = "-" if count is None else f"{count:,}"
            takes = "-" if row["seconds"] is None else duration(row["seconds"])
            yield f"{row['key'][:8]}  {row['status']:<11}  {text:>10}  {takes:>8}  {row['label']}"
        elif row["message"]:
            yield f"{row['key'][:8]}  {row['status']}: {row['label']}: {row['message']}"
    counts = Counter(row["status"] for row in document["trials"])
    total = ", ".join(f"{count} {name}" for name, count in counts.items())
    yield f"{len(document['trials'])} trials: {total or 'none'}"
    if dry:
        yield from _estimate_lines(document)
    if document["exit_code"] == 4:
        yield "stopped at the time limit: the same command goes on from here"


_BASES = {
    "record": "by the record of another seed",
    "rehearsal": "by a rehearsal of its first updates",
    "alike": "not rehearsed in time: as others of its task",
}

#: The share of others in the processor's time from which it is told.
_NOTICED = 0.1


def _estimate_lines(document: Document) -> Iterator[str]:
    found = document["estimate"]
    if found["estimated"]:
        one = f"{found['threads']} thread{'s' * (found['threads'] > 1)}"
        yield (
            f"estimated: {found['estimated']} of {found['due']} due trials, about "
            f"{duration(found['seconds'])} on {found['at_a_time']} at a time ({one} each); "
            f"longest {duration(found['longest'])}"
        )
        bases = (f"{found['basis'][b]} {text}" for b, text in _BASES.items() if b in found["basis"])
        yield f"  {'; '.join(bases)}"
        if found["waited"] > _NOTICED:
            yield (
                f"  other processes held the processor for {found['waited']:.0%} of the "
                f"rehearsals: beside them about {duration(found['busy_seconds'])}"
            )
    reasons = Counter(row["no_estimate"] for row in document["trials"] if row["no_estimate"])
    for reason, count in reasons.items():
        yield f"no estimate: {count} trial{'s' * (count > 1)}: {reason}"

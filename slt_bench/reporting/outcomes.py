"""What the trials of a cell came to: the records and failures that tables count.

An :class:`Outcome` is one row of a table: trials that differ in nothing but their seed, with the
records of dense and of the floor that they are compared with.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from slt_bench.store import Record, Store

if TYPE_CHECKING:
    from slt_bench.suites import Cell, Suite
    from slt_bench.trial import Trial

Role = Literal["", "dense", "floor"]
PerSeed = dict[int, float]
NOT_RUN = "not run"
#: The options that change how long a trial trains or how closely it is watched, nothing else.
LENGTH_OPTIONS = frozenset(
    {"updates", "epochs", "fraction"}
    | {"evaluate_every", "evaluation_windows", "validation_size", "test_size"}
)


@dataclass(frozen=True)
class Outcome:
    """One row of a table: its trials by seed, and what they are compared with.

    ``keys`` has every seed that was asked for; ``records`` those that finished, ``failures`` those
    that failed. ``dense`` and ``floor`` are finished records by seed. ``role`` says that the row is
    the dense or the floor of a comparison on the same page; ``compared`` is False for a row that
    is its own dense or its own floor. ``paper_options``: all options of the row under the budget
    ``paper``; empty where that is the row's own budget, or nothing is published.
    """

    id: str
    label: str
    task: str
    baseline: str
    slots: tuple[str, ...]
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    budget: str
    dataset: str
    keys: Mapping[int, str]
    records: Mapping[int, Record]
    failures: Mapping[int, Record]
    dense: Mapping[int, Record] = field(default_factory=dict)
    floor: Mapping[int, Record] = field(default_factory=dict)
    role: Role = ""
    compared: bool = True
    reference: bool = False
    published: Mapping[str, Any] = field(default_factory=dict)
    paper_options: Mapping[str, Any] = field(default_factory=dict)
    known: str = ""
    not_comparable: str | None = None

    @property
    def first(self) -> Record | None:
        """The finished record of the lowest seed: what no seed changes is read from it."""
        return self.records[min(self.records)] if self.records else None

    @property
    def metric(self) -> dict[str, Any] | None:
        """``name``, ``unit`` and ``higher_is_better`` of the task, once a trial has finished."""
        return dict(self.first["facts"]["metric"]) if self.first else None

    def status(self, seed: int) -> str:
        """``done``, how the seed's trial failed, or ``not run``."""
        if seed in self.records:
            return "done"
        return str(self.failures[seed]["status"]) if seed in self.failures else NOT_RUN

    @property
    def unfinished(self) -> str:
        """The seeds without a value, counted by status: ``1 diverged, 2 not run``."""
        counts = Counter(self.status(seed) for seed in self.keys if seed not in self.records)
        return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))

    @property
    def reasons(self) -> list[str]:
        """Why trials failed, each reason once: ``unsupported: 7 -> 7: needs ...``."""
        lines = (f"{failure['status']}: {failure['error']}" for failure in self.failures.values())
        return list(dict.fromkeys(lines))

    @property
    def other_than_paper(self) -> str:
        """What differs from the budget ``paper`` beside the length: ``hidden_size 16 not 512``."""
        own = self.first["facts"]["options"] if self.first else {}
        return ", ".join(
            f"{'data set' if name == 'dataset' else name} {_plain(own[name])} not {_plain(value)}"
            for name, value in self.paper_options.items()
            if name in own and name not in LENGTH_OPTIONS and own[name] != value
        )

    @property
    def changes(self) -> str:
        """Settings and options that are not the standard ones: ``rank=8 hidden_size=58``."""
        changed = {**self.settings, **self.options}
        return " ".join(f"{name}={_plain(value)}" for name, value in changed.items())


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return ",".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def final(records: Mapping[int, Record], name: str) -> PerSeed:
    """``loss`` or the metric by seed, on the test split after the last update."""
    return {seed: float(record["metrics"]["final"][name]) for seed, record in records.items()}


def settled(records: Mapping[int, Record]) -> PerSeed:
    """The settled accuracy by seed; empty for tasks that have none."""
    return {
        seed: float(record["metrics"]["settled"])
        for seed, record in records.items()
        if "settled" in record["metrics"]
    }


def scores(records: Mapping[int, Record]) -> PerSeed:
    """What rows are compared by: ``settled`` where the task has it, else the final metric."""
    if not records:
        return {}
    name = next(iter(records.values()))["facts"]["metric"]["name"]
    return settled(records) or final(records, name)


def suite_outcomes(
    suite: Suite, store: Store, budget: str | None = None, seeds: Sequence[int] | None = None
) -> list[Outcome]:
    """The outcomes of a suite's cells by task, in the suite's order with floors last.

    ``budget`` and ``seeds`` replace the suite's own.
    """
    cells = suite.cells(budget, seeds, store.records("train"))
    read: dict[str, Record | None] = {}

    def finished(trials: Iterable[Trial]) -> dict[int, Record]:
        found = {}
        for trial in trials:
            if trial.key not in read:
                read[trial.key] = store.read(trial.identity, trial.key)
            if record := read[trial.key]:
                found[trial.seed] = record
        return found

    dense = {trial.key for cell in cells for trial in cell.dense}
    floor = {trial.key for cell in cells for trial in cell.floor}
    names = {(cell.row.id, cell.task, cell.baseline) for cell in cells}
    outcomes = []
    for cell in cells:
        row, head = cell.row, cell.trials[0]
        keys = {trial.key for trial in cell.trials}
        records = finished(cell.trials)
        failures = {
            trial.seed: failure
            for trial in cell.trials
            if trial.seed not in records
            and (failure := store.read_failure(trial.identity, trial.key))
        }
        tasks = {task for row_id, task, _ in names if row_id == row.id}
        baselines = {baseline for row_id, _, baseline in names if row_id == row.id}
        outcomes.append(
            Outcome(
                id="/".join(
                    [
                        row.id,
                        *([cell.task] if len(tasks) > 1 else []),
                        *([cell.baseline] if len(baselines) > 1 else []),
                    ]
                ),
                # A row of several baselines names what they share; their own names tell them apart.
                label=cell.baseline if len(baselines) > 1 else row.label,
                task=cell.task,
                baseline=cell.baseline,
                slots=tuple(head.slots),
                settings=head.settings,
                options=head.options,
                budget=head.budget,
                dataset=head.dataset,
                keys={trial.seed: trial.key for trial in cell.trials},
                records=records,
                failures=failures,
                dense=finished(cell.dense),
                floor=finished(cell.floor),
                role="floor" if keys <= floor else "dense" if keys <= dense else "",
                compared=not (_same(cell, cell.dense) or _same(cell, cell.floor)),
                reference=row.reference,
                published=row.published,
                paper_options=_paper_options(cell) if row.published else {},
                known=row.known,
                not_comparable=row.not_comparable,
            )
        )
    order = list(dict.fromkeys(outcome.task for outcome in outcomes))
    return sorted(outcomes, key=lambda o: (order.index(o.task), o.role == "floor"))


def _paper_options(cell: Cell) -> dict[str, Any]:
    """All options that the cell has under the budget ``paper``; none where it has that budget, or
    its task is not installed."""
    if cell.trials[0].budget == "paper":
        return {}
    for published in cell.row.cells("paper", seeds=[0]):
        if (published.task, published.baseline) == (cell.task, cell.baseline):
            return asdict(published.trials[0].load_task().options)
    return {}


def _same(cell: Cell, trials: Sequence[Trial]) -> bool:
    return [trial.key for trial in cell.trials] == [trial.key for trial in trials]


def store_outcomes(store: Store) -> list[Outcome]:
    """Everything in a store; trials that differ only in their seed are one outcome.

    By task and budget; dense first, then by baseline. There is no floor: a suite names it.
    """
    groups: dict[tuple[str, ...], dict[int, Record]] = {}
    for record in (*store.failures("train"), *store.records("train")):
        # Finished records come last: one replaces a failure of the same trial.
        groups.setdefault(_group(record["trial"]), {})[record["trial"]["seed"]] = record
    outcomes = []
    for _, members in sorted(groups.items()):
        trial = next(iter(members.values()))["trial"]
        dense = groups.get(_group({**trial, "baseline": "dense", "settings": {}, "slots": []}), {})
        outcomes.append(
            Outcome(
                id=f"{trial['task']}/{trial['baseline']}",
                label=trial["baseline"],
                task=trial["task"],
                baseline=trial["baseline"],
                slots=tuple(trial["slots"]),
                settings=trial["settings"],
                options=trial["options"],
                budget=trial["budget"],
                dataset=trial["dataset"],
                keys={seed: members[seed]["key"] for seed in sorted(members)},
                records=_with_status(members, done=True),
                failures=_with_status(members, done=False),
                dense=_with_status(dense, done=True),
                role="dense" if members is dense else "",
                compared=members is not dense,
            )
        )
    return outcomes


def _with_status(members: Mapping[int, Record], *, done: bool) -> dict[int, Record]:
    return {s: r for s, r in sorted(members.items()) if (r["status"] == "done") == done}


def _group(trial: Mapping[str, Any]) -> tuple[str, ...]:
    """What the trials of one row share, in the order in which rows are sorted."""
    protocol = ("task", "task_version", "budget", "dataset", "dtype", "options")
    own = ("baseline", "settings", "slots")
    plain_dense = trial["baseline"] == "dense" and not trial["settings"]
    parts = [*(trial[name] for name in protocol), not plain_dense, *(trial[name] for name in own)]
    return tuple(json.dumps(part, sort_keys=True) for part in parts)

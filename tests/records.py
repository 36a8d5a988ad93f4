"""Valid records, trials and suites for tests: made by hand, so that nothing has to be trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slt_bench.store import Record, Store
from slt_bench.suites import Cell, Row, Suite
from slt_bench.trial import Trial

ERROR = {"name": "error", "unit": "%", "higher_is_better": False}
ACCURACY = {"name": "accuracy", "unit": "%", "higher_is_better": True}


def make_trial(baseline: str = "dense", seed: int = 0, task: str = "mnist", **more: Any) -> Trial:
    """A trial that need not exist: nothing is looked up."""
    standard: dict[str, Any] = {
        "task_version": 1,
        "settings": {},
        "slots": () if baseline == "dense" else ("fc1",) if task == "mnist" else ("state",),
        "options": {},
        "budget": "paper",
        "dataset": "mnist" if task == "mnist" else "generated",
    }
    return Trial(task=task, baseline=baseline, seed=seed, **{**standard, **more})


def make_record(
    trial: Trial,
    value: float,
    *,
    metric: Mapping[str, Any] = ERROR,
    settled: float | None = None,
    step_ms: float = 2.0,
    parameter_count: int = 1000,
    dense_parameter_count: int = 5000,
    machine: str = "Processor A",
    **more: Any,
) -> Record:
    """A finished record of ``trial``; ``value`` is its final metric. ``more`` replaces fields."""
    metrics: dict[str, Any] = {"final": {"loss": value / 10, metric["name"]: value}, "updates": 700}
    if settled is not None:
        metrics |= {
            "settled": settled,
            "solved": settled >= 95,
            "updates_to_solve": 300 if settled >= 95 else None,
        }
    slot = {"in_features": 80, "out_features": 50, "parameter_count": 100, "multiply_adds": 400}
    slots = dict.fromkeys(trial.slots, slot)
    return {
        "schema": 1,
        "key": trial.key,
        "kind": "train",
        "trial": trial.identity,
        "status": "done",
        "metrics": metrics,
        "timing": {
            "step_ms": {"median": step_ms, "p10": step_ms / 2, "p90": step_ms * 2, "n": 700},
            "training_seconds": 700 * step_ms / 1000,
            "evaluation_seconds": 0.5,
        },
        "parameter_count": dense_parameter_count if trial.baseline == "dense" else parameter_count,
        "curves": {"test": [], "training": []},
        "summary": [],
        "facts": {
            "metric": dict(metric),
            "trivial": {"loss": 2.3, metric["name"]: 90.0 if metric is ERROR else 10.0},
            "control": False,
            "slots": slots,
            "slot_parameter_count": 100 * len(slots),
            "dense_slot_parameter_count": 4000 * len(slots),
            "dense_parameter_count": dense_parameter_count,
            "settings": dict(trial.settings),
            "options": {**trial.options, "epochs": 14},
        },
        "provenance": {
            "started": "2026-01-01T00:00:00Z",
            "version": "0.1.0",
            "commit": "0123456789abcdef0123",
            "dirty": False,
            "source": {"baseline": "b", "task": "t"},
            "torch": "2.13.0",
            "processor": machine,
            "instruction_sets": ["avx2"],
            "threads": 1,
            "device": "cpu",
            "gpu": None,
            "strategy": None,
        },
        **more,
    }


def make_failure(trial: Trial, status: str = "diverged", error: str = "loss is NaN") -> Record:
    head = {"schema": 1, "key": trial.key, "kind": "train", "trial": trial.identity}
    return {**head, "status": status, "error": error, "provenance": {"source": {}}}


def make_cell(
    baseline: str,
    *,
    task: str = "mnist",
    seeds: Sequence[int] = (0, 1, 2),
    floor: str = "identity",
    row: Mapping[str, Any] | None = None,
    **more: Any,
) -> Cell:
    """A cell with its dense and floor; ``row`` has fields of the row, ``more`` of the trials."""
    fields: dict[str, Any] = {"id": baseline, "label": baseline, **(row or {})}
    trials = tuple(make_trial(baseline, seed, task, **more) for seed in seeds)
    rest = {k: v for k, v in more.items() if k != "settings"}
    unfilled = {**rest, "slots": ()}
    return Cell(
        row=Row(tasks=(task,), baselines=(baseline,), floor=floor, **fields),
        task=task,
        baseline=baseline,
        trials=trials,
        dense=tuple(make_trial("dense", seed, task, **unfilled) for seed in seeds),
        floor=()
        if baseline == "dense"
        else tuple(make_trial(floor, s, task, **rest) for s in seeds),
    )


@dataclass(frozen=True)
class MadeSuite(Suite):
    """A suite over cells that were made by hand; its rows are never looked at."""

    made: tuple[Cell, ...] = ()
    absent: tuple[str, ...] = ()

    def cells(
        self,
        budget: str | None = None,
        seeds: Sequence[int] | None = None,
        records: Iterable[Record] = (),
    ) -> list[Cell]:
        return list(self.made)

    @property
    def missing(self) -> list[str]:
        return list(self.absent)


def make_suite(cells: Sequence[Cell], missing: Sequence[str] = (), **more: Any) -> Suite:
    """A suite of these cells; ``more`` replaces its fields."""
    fields: dict[str, Any] = {
        "name": "made",
        "title": "A suite",
        "source": "A paper, table 1",
        "note": "A note.",
        "budget": "paper",
        "seeds": (0, 1, 2),
        "floor": "identity",
        "margins": {},
        "classes": {},
        "rows": (),
    }
    return MadeSuite(**{**fields, **more}, made=tuple(cells), absent=tuple(missing))


def publish(store: Store, cell: Cell, values: Sequence[float], **more: Any) -> None:
    """A record for each seed of a cell, in order; fewer values leave seeds without one."""
    for trial, value in zip(cell.trials, values, strict=False):
        store.publish(make_record(trial, value, **more))

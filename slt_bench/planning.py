"""What there is to do: the trials that are asked for, held against the records that exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from slt_bench.errors import UsageError
from slt_bench.layers import Unsupported
from slt_bench.matching import Match, match_parameters
from slt_bench.provenance import source_digests
from slt_bench.runner import DETERMINED, build
from slt_bench.store import Record, Store
from slt_bench.trial import Trial

Status = Literal["done", "stale", "failed", "missing", "diverged", "unsupported"]


@dataclass(frozen=True)
class Planned:
    """A trial and what the store knows of it; ``message`` is the reason of a failure."""

    trial: Trial
    status: Status
    message: str = ""


def is_stale(trial: Trial, record: Record) -> bool:
    """True where the baseline's formula has been edited since the record was made."""
    made_with = record.get("provenance", {}).get("source", {}).get("baseline")
    return bool(made_with != source_digests(trial)["baseline"])


def plan(trials: Sequence[Trial], store: Store) -> list[Planned]:
    """The state of each trial. A failure that the trial itself determines stands until its
    source changes; any other is worth another attempt."""
    planned = []
    for trial in trials:
        if record := store.read(trial.identity, trial.key):
            planned.append(Planned(trial, "stale" if is_stale(trial, record) else "done"))
        elif (failure := store.read_failure(trial.identity, trial.key)) is None:
            planned.append(Planned(trial, "missing"))
        else:
            stands = failure["status"] in DETERMINED and not is_stale(trial, failure)
            planned.append(
                Planned(trial, failure["status"] if stands else "failed", failure["error"])
            )
    return planned


def due(planned: Sequence[Planned], *, stale: str = "keep", force: bool = False) -> list[Trial]:
    """The trials to run now."""
    wanted = {"missing", "failed"} | ({"stale"} if stale == "rerun" else set())
    return [p.trial for p in planned if force or p.status in wanted]


def parameter_counts(trials: Sequence[Trial]) -> dict[str, int | None]:
    """Exact count of trainable weights of each trial's model, by key; None where unsupported.

    Trials that differ in their seed alone are built once.
    """
    seen: dict[str, int | None] = {}
    counts = {}
    for trial in trials:
        shape = replace(trial, seed=0).key
        if shape not in seen:
            try:
                seen[shape] = build(trial).parameter_count
            except Unsupported:
                seen[shape] = None
        counts[trial.key] = seen[shape]
    return counts


def matched(trial: Trial, target: int | float) -> tuple[Trial, Match] | None:
    """``trial`` with its baseline's size setting solved for ``target`` weights in its slots.

    None where the trial fills no slot (dense), or where the baseline cannot have the sizes.
    """
    if not trial.slots:
        return None
    dense = build(replace(trial, baseline="dense", settings={}, baseline_source=""))
    shapes = [(s.in_features, s.out_features, s.bias) for s in dense.slots.values()]
    try:
        match = match_parameters(trial.load_baseline(), shapes, target, trial.settings)
    except Unsupported:
        return None
    if match.setting in trial.settings:
        raise UsageError(
            f"{trial.baseline}.{match.setting} is solved for by --match-parameters: "
            "leave it out of --set"
        )
    settings = {**trial.settings, **match.settings}
    solved = Trial.create(
        trial.task_source or trial.task,
        trial.baseline_source or trial.baseline,
        settings=settings,
        slots=trial.slots,
        options={**trial.options, "dataset": trial.dataset},
        budget=trial.budget,
        seed=trial.seed,
        dtype=trial.dtype,
    )
    return solved, match

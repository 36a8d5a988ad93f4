"""What there is to do: the trials that are asked for, held against the records that exist."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from slt_bench.errors import UsageError
from slt_bench.layers import Unsupported
from slt_bench.matching import Match, match_parameters
from slt_bench.provenance import source_digests
from slt_bench.registry import settings_of
from slt_bench.runner import DETERMINED, build
from slt_bench.store import Record, Store
from slt_bench.trial import Trial

Status = Literal["done", "stale", "failed", "missing", "diverged", "unsupported"]


_STALE = "its record was made by other code than today's: --stale rerun trains it again"


@dataclass(frozen=True)
class Planned:
    """A trial and what the store knows of it; ``message`` is the reason of a failure."""

    trial: Trial
    status: Status
    message: str = ""


def is_stale(trial: Trial, record: Record) -> bool:
    """True where the record was made by other code than today's.

    That is: the baseline's formula has been edited since, or a value that both know, a default
    setting or an option of the budget, is no longer the same.
    """
    made_with = record.get("provenance", {}).get("source", {}).get("baseline")
    if made_with != source_digests(trial)["baseline"]:
        return True
    now = {
        "settings": {**settings_of(trial.load_baseline()), **trial.settings},
        "options": asdict(trial.load_task().options),
    }
    for group, values in json.loads(json.dumps(now)).items():
        then = record.get("facts", {}).get(group, {})
        if any(then[name] != value for name, value in values.items() if name in then):
            return True
    return False


def plan(trials: Sequence[Trial], store: Store) -> list[Planned]:
    """The state of each trial. A failure that the trial itself determines stands until its
    source changes; any other is worth another attempt."""
    planned = []
    for trial in trials:
        if record := store.read(trial.identity, trial.key):
            stale = is_stale(trial, record)
            planned.append(Planned(trial, "stale", _STALE) if stale else Planned(trial, "done"))
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

    Raises:
        UsageError: a model cannot be built with the values that were asked for.
    """
    seen: dict[str, int | None] = {}
    counts = {}
    for trial in trials:
        shape = replace(trial, seed=0)
        if shape.key not in seen:
            seen[shape.key] = _parameter_count(shape)
        counts[trial.key] = seen[shape.key]
    return counts


def _parameter_count(trial: Trial) -> int | None:
    try:
        return build(trial).parameter_count
    except Unsupported:
        return None
    except UsageError:
        raise
    except Exception as error:
        if trial.settings or trial.options:  # what the user chose; else the trial tells it
            raise UsageError(f"{trial.label}: {str(error).partition(chr(10))[0]}") from None
        return None


def matched(trial: Trial, target: int | float) -> tuple[list[Trial], Match] | None:
    """``trial`` with its baseline's size setting solved for ``target`` weights in its slots.

    Beyond 5 % off, the value on the other side of the target is a trial too. None where the trial
    fills no slot (dense), or where the baseline cannot have the sizes.
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
    values = [match.value, match.neighbour] if match.unmatched else [match.value]
    return [_resized(trial, match.setting, value) for value in values if value is not None] or [
        trial
    ], match


def _resized(trial: Trial, setting: str | None, value: int) -> Trial:
    return Trial.create(
        trial.task_source or trial.task,
        trial.baseline_source or trial.baseline,
        settings={**trial.settings, **({} if setting is None else {setting: value})},
        slots=trial.slots,
        options={**trial.options, "dataset": trial.dataset},
        budget=trial.budget,
        seed=trial.seed,
        dtype=trial.dtype,
    )

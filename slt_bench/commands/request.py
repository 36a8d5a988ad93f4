"""Which trials a command line asks for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slt_bench import matching, planning, registry
from slt_bench.commands.values import parse_seeds
from slt_bench.errors import UsageError, unknown
from slt_bench.suites import load_suite
from slt_bench.trial import BUDGETS, Sweep, Trial, matrix, parse_value, shard


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
    baselines = list(request.baselines) or registry.without_controls()
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

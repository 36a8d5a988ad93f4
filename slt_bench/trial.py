"""A trial: one point of the comparison matrix, its key, and how a matrix expands into trials."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from slt_bench import registry
from slt_bench.errors import UsageError, unknown
from slt_bench.store import SCHEMA
from slt_bench.task import BUDGETS, Options, Task

DTYPES = ("float32", "float64", "bfloat16")


def canonical_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(identity: Mapping[str, Any]) -> str:
    """The sha256 (hexadecimal) of an identity's canonical JSON."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Trial:
    """What is trained: everything that the result depends on, and nothing else.

    ``settings`` holds only what differs from the baseline's defaults, ``options`` only what
    differs from the budget's values, so that a setting or an option added later leaves the keys
    of older trials alone. Build one with :meth:`create`, which checks every name.

    The two ``source`` fields say where the classes are found when they are not built in; they are
    not part of the identity.
    """

    task: str
    task_version: int
    baseline: str
    settings: Mapping[str, Any]
    slots: tuple[str, ...]
    options: Mapping[str, Any]
    budget: str
    dataset: str
    seed: int
    dtype: str = "float32"
    task_source: str = ""
    baseline_source: str = ""

    @classmethod
    def create(
        cls,
        task: str,
        baseline: str = "dense",
        *,
        settings: Mapping[str, Any] | None = None,
        slots: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        budget: str = "quick",
        seed: int = 0,
        dtype: str = "float32",
    ) -> Trial:
        """A trial in canonical form; names or files for ``task`` and ``baseline``.

        Raises:
            UsageError: a name, a value or a slot that does not exist.
        """
        task_entry = registry.resolve("tasks", task)
        baseline_entry = registry.resolve("baselines", baseline)
        task_class = registry.load_task(task)
        own = {k: v for k, v in (options or {}).items() if k != "dataset"}
        changed = task_options(task_class, task_entry.name, budget, options or {})
        standard = task_class.budgets[budget]
        own = {k: getattr(changed, k) for k in own if getattr(changed, k) != getattr(standard, k)}
        checked = _check_settings(baseline_entry.name, registry.load_baseline(baseline), settings)
        if dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        if type(seed) is not int or seed < 0:
            raise UsageError(f"seed {seed!r}: give a whole number from 0")
        filled = slot_names(task_class, task_entry.name, slots)
        if baseline_entry.name == "dense" and not checked:
            filled = ()  # what no baseline fills is dense: one trial, whichever slots are named
        return cls(
            task=task_entry.name,
            task_version=task_class.version,
            baseline=baseline_entry.name,
            settings=checked,
            slots=filled,
            options=own,
            budget=budget,
            dataset=changed.dataset,
            seed=seed,
            dtype=dtype,
            task_source="" if task_entry.builtin else task_entry.source,
            baseline_source="" if baseline_entry.builtin else baseline_entry.source,
        )

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> Trial:
        """The trial behind a record, whether or not its classes can be found."""
        fields = {k: v for k, v in identity.items() if k not in ("schema", "kind")}
        return cls(**{**fields, "slots": tuple(identity["slots"])})

    @property
    def identity(self) -> dict[str, Any]:
        """What the key is a digest of; also what a record keeps."""
        return {
            "schema": SCHEMA,
            "kind": "train",
            "task": self.task,
            "task_version": self.task_version,
            "baseline": self.baseline,
            "settings": dict(self.settings),
            "slots": list(self.slots),
            "options": dict(self.options),
            "budget": self.budget,
            "dataset": self.dataset,
            "seed": self.seed,
            "dtype": self.dtype,
        }

    @cached_property
    def key(self) -> str:
        return key_of(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trial) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def load_baseline(self) -> type[Any]:
        return registry.load_baseline(self.baseline_source or self.baseline)

    def load_task(self, folder: Path | None = None) -> Task:
        """The task with this trial's options; ``folder``: where its data is sought first."""
        task_class = registry.load_task(self.task_source or self.task)
        options = {**self.options, "dataset": self.dataset}
        task: Task = task_class(task_options(task_class, self.task, self.budget, options), folder)
        return task

    @property
    def label(self) -> str:
        """One line for people: task, baseline, what differs from the defaults, seed."""
        changed = {**self.settings, **self.options}
        text = " ".join(f"{name}={value}" for name, value in changed.items())
        where = f"[{'+'.join(self.slots)}]" if self.slots else ""
        return " ".join(filter(None, (self.task, self.baseline + where, text, f"seed {self.seed}")))


def task_options(task: type[Task], name: str, budget: str, changes: Mapping[str, Any]) -> Options:
    """The options of a task under a budget, with changes; values take the type of the field.

    Raises:
        UsageError: an unknown budget or option, or a value of the wrong type.
    """
    if budget not in task.budgets:
        raise unknown(f"budget of task {name}", budget, task.budgets)
    standard = task.budgets[budget]
    names = [f.name for f in dataclasses.fields(standard)]
    hints = get_type_hints(type(standard))
    checked = {}
    for option, value in changes.items():
        if option not in names:
            raise unknown(f"option of task {name}", option, names)
        checked[option] = _coerce(f"{name}.{option}", value, _kinds(hints[option]))
    try:
        return dataclasses.replace(standard, **checked)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def slot_names(task: type[Task], name: str, slots: Sequence[str] | None) -> tuple[str, ...]:
    """Slots in the task's own order; None: its default ones; groups such as ``all`` expand."""
    if slots is None:
        return tuple(s for s in task.slots if s in task.default_slots)
    asked: set[str] = set()
    for slot in slots:
        if slot not in task.slots and slot not in task.slot_groups:
            raise unknown(f"slot of task {name}", slot, [*task.slots, *task.slot_groups])
        asked |= set(task.slot_groups.get(slot, (slot,)))
    return tuple(s for s in task.slots if s in asked)


def _check_settings(
    name: str, baseline: type[Any], settings: Mapping[str, Any] | None
) -> dict[str, Any]:
    defaults = registry.settings_of(baseline)
    checked = {}
    for setting, value in (settings or {}).items():
        if setting not in defaults:
            raise unknown(f"setting of baseline {name}", setting, defaults)
        like = defaults[setting]
        kinds = set() if like is None else {type(like), type(None)}
        checked[setting] = _coerce(f"{name}.{setting}", value, kinds)
    return {k: v for k, v in checked.items() if v != defaults[k]}


def _kinds(hint: Any) -> set[type]:
    """The types that an annotation such as ``float | None`` allows."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    plain = {get_origin(part) or part for part in parts}
    return {str if kind is Literal else kind for kind in plain}


def _coerce(name: str, value: Any, kinds: set[type]) -> Any:
    """``value`` as one of ``kinds`` (none: whatever it is); "none" stands for None."""
    if isinstance(value, str) and value.lower() == "none":
        value = None
    if isinstance(value, list | tuple):
        value = tuple(int(v) if type(v) is float and v.is_integer() else v for v in value)
    if isinstance(value, float) and not isfinite(value):
        raise UsageError(f"{name}={value!r}: give a finite number")
    if not kinds or type(value) in kinds:
        return value
    if float in kinds and type(value) is int:
        return float(value)
    if int in kinds and type(value) is float and value.is_integer():
        return int(value)
    names = {"none" if kind is type(None) else kind.__name__ for kind in kinds}
    wanted = " or ".join(sorted(names))
    raise UsageError(f"{name}={value!r} is of the wrong type: give {wanted}")


def parse_value(text: str) -> Any:
    """The value behind a word on the command line: none, true, 8, 0.5, [8,4] or plain text."""
    if text.lower() in ("none", "null"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return json.loads(text)
    except ValueError:
        return text


Sweep = Mapping[str, Mapping[str, Sequence[Any]]]


def combinations(values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every way to choose one value for each name."""
    for chosen in product(*values.values()):
        yield dict(zip(values, chosen, strict=True))


def matrix(
    tasks: Iterable[str],
    baselines: Iterable[str],
    *,
    seeds: Iterable[int] = (0,),
    slots: Sequence[str] | None = None,
    settings: Sweep | None = None,
    options: Sweep | None = None,
    budget: str = "quick",
    dtype: str = "float32",
    sweep_grids: bool = False,
) -> list[Trial]:
    """Every trial of tasks x baselines x their settings x options x seeds, without repeats.

    ``settings`` and ``options`` map a name to ``{setting: values}``. With ``sweep_grids`` a
    baseline's own ``grid`` supplies the values of settings that ``settings`` does not name.
    """
    trials: dict[str, Trial] = {}
    seeds = tuple(seeds)
    baselines = tuple(baselines)
    for task in tasks:
        task_name = registry.resolve("tasks", task).name
        task_sweep = (options or {}).get(task_name, {})
        for baseline in baselines:
            entry = registry.resolve("baselines", baseline)
            grid = getattr(registry.load_baseline(baseline), "grid", {}) if sweep_grids else {}
            sweep = {**grid, **(settings or {}).get(entry.name, {})}
            for chosen, changed, seed in product(
                combinations(sweep), combinations(task_sweep), seeds
            ):
                trial = Trial.create(
                    task,
                    baseline,
                    settings=chosen,
                    slots=slots,
                    options=changed,
                    budget=budget,
                    seed=seed,
                    dtype=dtype,
                )
                trials.setdefault(trial.key, trial)
    return list(trials.values())


def shard(trials: Sequence[Trial], index: int, count: int) -> list[Trial]:
    """Shard ``index`` (from 1) of ``count``: a split by key that no later trial disturbs."""
    if not 1 <= index <= count:
        raise UsageError(f"shard {index}/{count} does not exist: give i/n with 1 <= i <= n")
    return [t for t in trials if int(t.key[:8], 16) % count == index - 1]


__all__ = ["BUDGETS", "Trial", "matrix", "shard"]

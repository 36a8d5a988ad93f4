"""Suites: named lists of trials with the published numbers that they are held against.

A suite is a TOML file of ``reports/suites/``, or any file given by its path. Reading one imports
neither torch nor a baseline; only its cells and trials do.

    title               what it shows
    source, note        where that was published, what a reader must know (optional)
    budget              its default budget
    seeds               how many (0, 1, ...), or a list of them
    tasks               for rows that name none: names, or ["*"] for every task
    floor               the control that means "this map removed"; "task": each task's own
    [margins]           by metric: a difference that does not matter. No margin, no verdict
    [classes]           bimodal tasks: solved, stuck_within (percent)
    [[row]]             id, label, tasks, slots (default: the task's own), settings, options
      baselines         names, files, or ["*"]: every baseline that is no control
      published_options options of the row's own experiment where it is not the task's: under the
                        budget ``paper``, and under ``third`` with a third of ``updates`` and
                        ``epochs``; shorter budgets keep the task's own small values
      published         the printed numbers by metric, and beside them ``loss``,
                        ``parameter_count`` (exact), ``printed_parameters`` (text), ``curve``,
                        ``other_runs``
      known             what is known of how these numbers came about
      not_comparable    why the published number measures something else

``"none"`` as a setting or an option means None (see :meth:`slt_bench.trial.Trial.create`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_bench import registry
from slt_bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from slt_bench.store import Record
    from slt_bench.trial import Trial

EVERY = "*"
#: ``floor = "task"``: the control that each task names itself.
TASK_FLOOR = "task"
#: The options that say how long a trial trains: a budget ``third`` has a third of them.
LENGTHS = ("updates", "epochs")


@dataclass(frozen=True)
class Cell:
    """One baseline of a row on one task: its trials by seed, and what they are compared with.

    ``dense`` and ``floor`` have the seeds, options and slots of ``trials``. ``floor`` is empty
    where nothing is filled, so that nothing can be removed, and where that control is missing.
    """

    row: Row
    task: str
    baseline: str
    trials: tuple[Trial, ...]
    dense: tuple[Trial, ...]
    floor: tuple[Trial, ...]


@dataclass(frozen=True)
class Row:
    """A line of a suite. ``reference``: not in the file, but needed to compare with."""

    id: str
    label: str
    tasks: tuple[str, ...]
    baselines: tuple[str, ...]
    floor: str
    slots: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    published_options: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    known: str = ""
    not_comparable: str | None = None
    reference: bool = False
    where: str = ""  #: file and row, for errors

    def cells(self, budget: str, seeds: Sequence[int]) -> list[Cell]:
        """One cell for each task and baseline that exists.

        Raises:
            UsageError: a budget, slot, setting or option that does not exist.
        """
        if not seeds:
            raise UsageError(f"{self.where}: no seeds: give at least one")
        try:
            baselines = self._existing_baselines()
            return [
                self._cell(task, baseline, budget, seeds)
                for task in self._existing_tasks()
                for baseline in baselines
            ]
        except UsageError as error:
            raise UsageError(f"{self.where}: {error}") from None

    def options_under(self, budget: str) -> dict[str, Any]:
        """The row's options: those of every budget, and those of the published experiment."""
        if budget not in ("paper", "third"):
            return dict(self.options)
        own = dict(self.published_options)
        if budget == "third":
            own |= {name: _third(name, own[name]) for name in LENGTHS if name in own}
        return {**self.options, **own}

    def _cell(self, task: str, baseline: str, budget: str, seeds: Sequence[int]) -> Cell:
        from slt_bench.trial import Trial

        trial = Trial.create(
            task,
            baseline,
            settings=self.settings,
            slots=self.slots,
            options=self.options_under(budget),
            budget=budget,
        )

        def by_seed(trial: Trial) -> tuple[Trial, ...]:
            return tuple(replace(trial, seed=seed) for seed in seeds)

        bare = replace(trial, settings={}, baseline_source="")
        dense = by_seed(replace(bare, baseline="dense", slots=()))
        floor: tuple[Trial, ...] = ()
        control = self._floor(task)
        if trial.slots and not _missing("baselines", control):
            entry = registry.resolve("baselines", control)
            source = "" if entry.builtin else entry.source
            floor = by_seed(replace(bare, baseline=entry.name, baseline_source=source))
        return Cell(self, trial.task, trial.baseline, by_seed(trial), dense, floor)

    def _existing_tasks(self) -> list[str]:
        names = list(registry.entries("tasks")) if EVERY in self.tasks else self.tasks
        return [name for name in names if not _missing("tasks", name)]

    def _existing_baselines(self) -> list[str]:
        if EVERY in self.baselines:
            return [
                name
                for name in registry.entries("baselines")
                if not registry.is_control(registry.load_baseline(name))
            ]
        return [name for name in self.baselines if not _missing("baselines", name)]

    def _floor(self, task: str) -> str:
        return registry.load_task(task).floor if self.floor == TASK_FLOOR else self.floor


@dataclass(frozen=True)
class Suite:
    """A suite as its file has it. ``rows`` are the file's; :meth:`cells` adds the references."""

    name: str
    title: str
    source: str
    note: str
    budget: str
    seeds: tuple[int, ...]
    floor: str
    margins: Mapping[str, float]
    classes: Mapping[str, float]
    rows: tuple[Row, ...]

    def cells(
        self,
        budget: str | None = None,
        seeds: Sequence[int] | None = None,
        records: Iterable[Record] = (),
    ) -> list[Cell]:
        """The cells of all rows, then one for each reference that no row is already.

        Rows of every baseline also take in what ``records`` hold of baselines and tasks that are
        not installed: those that were run from a file.

        Raises:
            UsageError: a budget, slot, setting or option that does not exist.
        """
        budget, seeds = budget or self.budget, self.seeds if seeds is None else tuple(seeds)
        cells = [cell for row in self.rows for cell in row.cells(budget, seeds)]
        cells += _guests(self.rows, budget, seeds, records)
        present = {trial for cell in cells for trial in cell.trials}
        for cell in list(cells):
            for trials in (cell.dense, cell.floor):
                if trials and trials[0] not in present:
                    present.update(trials)
                    cells.append(_reference(cell, trials))
        return cells

    def trials(
        self,
        budget: str | None = None,
        seeds: Sequence[int] | None = None,
        records: Iterable[Record] = (),
    ) -> list[Trial]:
        """The trials of :meth:`cells`, each once; all of one seed before the next seed."""
        cells = self.cells(budget, seeds, records)
        unique = dict.fromkeys(trial for cell in cells for trial in cell.trials)
        return sorted(unique, key=lambda trial: trial.seed)

    def narrowed(self, baselines: Sequence[str], tasks: Sequence[str]) -> Suite:
        """The rows of these baselines on these tasks alone; none given: all of them.

        Where a row has every one, those given need not be built in: names, files, controls.

        Raises:
            UsageError: a name that does not exist, or no row is left.
        """
        rows = [
            replace(row, baselines=kept_baselines, tasks=kept_tasks)
            for row in self.rows
            if (kept_baselines := _narrowed("baselines", row.baselines, baselines))
            and (kept_tasks := _narrowed("tasks", row.tasks, tasks))
        ]
        if not rows:
            asked = " on ".join(", ".join(names) for names in (baselines, tasks) if names)
            raise UsageError(f"suite {self.name} has no row of {asked}: leave -b and -t out")
        return replace(self, rows=tuple(rows))

    @property
    def missing(self) -> list[str]:
        """What the suite names and the installation lacks, as ``baseline 'wavelet'``.

        Imports the tasks where the floor is each task's own.
        """
        floors = [row._floor(task) for row in self.rows for task in row._existing_tasks()]
        named = {
            "baseline": [*floors, *(name for row in self.rows for name in row.baselines)],
            "task": [name for row in self.rows for name in row.tasks],
        }
        return [
            f"{kind} {name!r}"
            for kind, names in named.items()
            for name in dict.fromkeys(names)
            if name != EVERY and _missing("tasks" if kind == "task" else "baselines", name)
        ]


def _third(name: str, length: Any) -> Any:
    if not _is_number(length):  # "none": the length that the task has by itself
        return length
    return max(1, round(length / 3)) if name == "updates" else length / 3


def _missing(kind: registry.Kind, name: str) -> bool:
    """True for a plain name that does not exist; a wrong FILE.py:Class is an error elsewhere."""
    plain = ":" not in name and not name.endswith(".py")
    return plain and name not in registry.entries(kind)


def _narrowed(kind: registry.Kind, names: tuple[str, ...], asked: Sequence[str]) -> tuple[str, ...]:
    """Those of a row's names that are asked for; all of them where nothing is."""
    wanted = {registry.resolve(kind, reference).name: reference for reference in asked}
    if not wanted or EVERY in names:
        return tuple(wanted.values()) or names
    return tuple(
        name
        for name in names
        if not _missing(kind, name) and registry.resolve(kind, name).name in wanted
    )


def _guests(
    rows: Sequence[Row], budget: str, seeds: Sequence[int], records: Iterable[Record]
) -> list[Cell]:
    """Cells of records whose baseline or task is known from them alone, at its defaults."""
    from slt_bench.trial import Trial

    found: dict[tuple[str, ...], Cell] = {}
    for record, row in product(records, [row for row in rows if EVERY in row.baselines]):
        identity, facts = record["trial"], record["facts"]
        task, baseline = identity["task"], identity["baseline"]
        guest_task = _missing("tasks", task)
        plain = not facts["control"] and not identity["settings"] and not identity["options"]
        expected = identity["budget"] == budget and (
            EVERY in row.tasks if guest_task else task in row._existing_tasks()
        )
        if not plain or not expected or not (guest_task or _missing("baselines", baseline)):
            continue
        own = tuple(Trial.from_identity({**identity, "seed": seed}) for seed in seeds)
        dense = tuple(replace(t, baseline="dense", slots=()) for t in own)
        floor = tuple(replace(t, baseline=facts["floor"]) for t in own) if own[0].slots else ()
        key = (row.id, task, baseline, *identity["slots"])
        found.setdefault(key, Cell(row, task, baseline, own, dense, floor))
    return list(found.values())


def _reference(cell: Cell, trials: tuple[Trial, ...]) -> Cell:
    trial, row = trials[0], cell.row
    where = f" in {'+'.join(trial.slots)}" if trial.slots else ""
    changed = ", ".join(f"{name}={value}" for name, value in trial.options.items())
    label = trial.baseline + where + (f" ({changed})" if changed else "")
    reference = Row(
        id=label,
        label=label,
        tasks=(trial.task,),
        baselines=(trial.baseline,),
        floor=row.floor,
        slots=trial.slots or None,
        options=row.options,
        published_options=row.published_options,
        reference=True,
        where=row.where,
    )
    floor = cell.floor if trial.slots else ()
    return Cell(reference, cell.task, trial.baseline, trials, cell.dense, floor)


# Reading the file ----------------------------------------------------------------------------


def suite_names() -> list[str]:
    """The suites of ``reports/suites/``."""
    return sorted(path.stem for path in registry.folder("reports/suites").glob("*.toml"))


def load_suite(name_or_path: str | Path) -> Suite:
    """A suite by its name, or by the path of a file that ends in ``.toml``.

    Raises:
        UsageError: no such suite, or a field of the file is wrong; names the file and the field.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix != ".toml":
        if str(name_or_path) not in suite_names():
            raise unknown("suite", str(name_or_path), suite_names())
        path = registry.folder("reports/suites") / f"{name_or_path}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the suite {path}: {error.strerror}") from None
    except ValueError as error:  # TOML or UTF-8
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    return _suite(table, path)


def _suite(table: dict[str, Any], path: Path) -> Suite:
    _check(table, _SUITE, ("title", "budget", "seeds", "floor", "row"), str(path))
    rows = tuple(_row(row, table, path) for row in table["row"])
    ids = [row.id for row in rows]
    if repeated := next((i for i in ids if ids.count(i) > 1), None):
        raise UsageError(f"{path}: two rows have the id {repeated!r}: rename one")
    seeds = table["seeds"]
    return Suite(
        name=path.stem,
        title=table["title"],
        source=table.get("source", ""),
        note=_one_line(table.get("note", "")),
        budget=table["budget"],
        seeds=tuple(range(seeds) if isinstance(seeds, int) else seeds),
        floor=table["floor"],
        margins=table.get("margins", {}),
        classes=table.get("classes", {}),
        rows=rows,
    )


def _row(table: dict[str, Any], suite: Mapping[str, Any], path: Path) -> Row:
    where = f"{path}: row {table.get('id', '?')!r}"
    _check(table, _ROW, ("id", "label", "baselines"), where)
    tasks = table.get("tasks", suite.get("tasks"))
    if tasks is None:
        raise UsageError(f"{where}: field 'tasks' is missing, here and at the head of the file")
    slots = table.get("slots")
    reason = table.get("not_comparable")
    return Row(
        id=table["id"],
        label=table["label"],
        tasks=tuple(tasks),
        baselines=tuple(table["baselines"]),
        floor=suite["floor"],
        slots=None if slots is None else tuple(slots),
        settings=dict(table.get("settings", {})),
        options=dict(table.get("options", {})),
        published_options=dict(table.get("published_options", {})),
        published=table.get("published", {}),
        known=_one_line(table.get("known", "")),
        not_comparable=None if reason is None else _one_line(reason),
        where=where,
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _are_seeds(value: Any) -> bool:
    if not isinstance(value, list):
        return _is_count(value)
    whole = all(type(seed) is int and seed >= 0 for seed in value)
    return whole and 0 < len(value) == len(set(value))


def _are_limits(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(v) and v > 0 for v in value.values())


def _are_classes(value: Any) -> bool:
    return _are_limits(value) and value.keys() <= {"solved", "stuck_within"}


def _are_published(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_text(v)
        if name == "printed_parameters"
        else _is_count(v)
        if name == "parameter_count"
        else all(map(_is_number, v if isinstance(v, list) else [v]))
        for name, v in value.items()
    )


Field = tuple[str, Callable[[Any], bool]]
_TEXT: Field = ("a text that is not empty", _is_text)
_NAMES: Field = ("a list of names", _are_names)
_TABLE: Field = ("a table", lambda value: isinstance(value, dict))
_LIMITS: Field = ("a table of positive numbers", _are_limits)
_ROWS: Field = (
    "one or more [[row]] tables",
    lambda value: isinstance(value, list) and all(isinstance(row, dict) for row in value),
)

_SUITE: dict[str, Field] = {
    "title": _TEXT,
    "source": _TEXT,
    "note": _TEXT,
    "budget": _TEXT,
    "seeds": ("a count above 0, or a list of different seeds from 0", _are_seeds),
    "tasks": _NAMES,
    "floor": _TEXT,
    "margins": _LIMITS,
    "classes": ("a table of solved and stuck_within, in percent", _are_classes),
    "row": _ROWS,
}
_ROW: dict[str, Field] = {
    "id": _TEXT,
    "label": _TEXT,
    "tasks": _NAMES,
    "baselines": _NAMES,
    "slots": _NAMES,
    "settings": _TABLE,
    "options": _TABLE,
    "published_options": _TABLE,
    "published": (
        "a table of numbers, with parameter_count whole and printed_parameters a text",
        _are_published,
    ),
    "known": _TEXT,
    "not_comparable": _TEXT,
}


def _check(
    table: Mapping[str, Any], fields: Mapping[str, Field], required: Sequence[str], where: str
) -> None:
    for name, value in table.items():
        if name not in fields:
            raise UsageError(f"{where}: {unknown('field', name, fields)}")
        wanted, valid = fields[name]
        if not valid(value):
            raise UsageError(f"{where}: {name} = {value!r} is not {wanted}")
    for name in required:
        if name not in table:
            raise UsageError(f"{where}: field {name!r} is missing")

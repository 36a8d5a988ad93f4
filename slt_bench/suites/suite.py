"""A suite: its rows as cells and trials, with the references that they are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from slt_bench.errors import UsageError
from slt_bench.suites.names import EVERY, is_missing, kept_names
from slt_bench.suites.rows import Cell, Row

if TYPE_CHECKING:
    from slt_bench.store import Record
    from slt_bench.trial import Trial


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
            if (kept_baselines := kept_names("baselines", row.baselines, baselines))
            and (kept_tasks := kept_names("tasks", row.tasks, tasks))
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
        floors = [row.floor_of(task) for row in self.rows for task in row.existing_tasks()]
        named = {
            "baseline": [*floors, *(name for row in self.rows for name in row.baselines)],
            "task": [name for row in self.rows for name in row.tasks],
        }
        return [
            f"{kind} {name!r}"
            for kind, names in named.items()
            for name in dict.fromkeys(names)
            if name != EVERY and is_missing("tasks" if kind == "task" else "baselines", name)
        ]


def _guests(
    rows: Sequence[Row], budget: str, seeds: Sequence[int], records: Iterable[Record]
) -> list[Cell]:
    """Cells of records whose baseline or task is known from them alone, at its defaults."""
    from slt_bench.trial import Trial

    found: dict[tuple[str, ...], Cell] = {}
    for record, row in product(records, [row for row in rows if EVERY in row.baselines]):
        identity, facts = record["trial"], record["facts"]
        task, baseline = identity["task"], identity["baseline"]
        guest_task = is_missing("tasks", task)
        plain = not facts["control"] and not identity["settings"] and not identity["options"]
        expected = identity["budget"] == budget and (
            EVERY in row.tasks if guest_task else task in row.existing_tasks()
        )
        if not plain or not expected or not (guest_task or is_missing("baselines", baseline)):
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

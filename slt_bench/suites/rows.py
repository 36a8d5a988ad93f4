"""A row of a suite, and the cells that it makes: one for each of its tasks and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slt_bench import registry
from slt_bench.errors import UsageError
from slt_bench.suites.names import EVERY, is_missing
from slt_bench.suites.values import is_number

if TYPE_CHECKING:
    from slt_bench.trial import Trial

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
            baselines = self.existing_baselines()
            return [
                self._cell(task, baseline, budget, seeds)
                for task in self.existing_tasks()
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

    def existing_tasks(self) -> list[str]:
        """Its tasks that are installed."""
        names = list(registry.entries("tasks")) if EVERY in self.tasks else self.tasks
        return [name for name in names if not is_missing("tasks", name)]

    def existing_baselines(self) -> list[str]:
        """Its baselines that are installed; "every" one is imported, to leave the controls out."""
        if EVERY in self.baselines:
            return registry.without_controls()
        return [name for name in self.baselines if not is_missing("baselines", name)]

    def floor_of(self, task: str) -> str:
        """The control that means "this map removed"; imports the task where it names its own."""
        return registry.load_task(task).floor if self.floor == TASK_FLOOR else self.floor

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
        control = self.floor_of(task)
        if trial.slots and not is_missing("baselines", control):
            entry = registry.resolve("baselines", control)
            source = "" if entry.builtin else entry.source
            floor = by_seed(replace(bare, baseline=entry.name, baseline_source=source))
        return Cell(self, trial.task, trial.baseline, by_seed(trial), dense, floor)


def _third(name: str, length: Any) -> Any:
    if not is_number(length):  # "none": the length that the task has by itself
        return length
    return max(1, round(length / 3)) if name == "updates" else length / 3

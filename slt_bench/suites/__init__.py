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

from slt_bench.suites.reading import load_suite, suite_names
from slt_bench.suites.rows import Cell, Row
from slt_bench.suites.suite import Suite

__all__ = ["Cell", "Row", "Suite", "load_suite", "suite_names"]

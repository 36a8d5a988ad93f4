"""Tables of a summary: accuracy, comparisons, parameters, latency, against published numbers.

A table chooses lines and columns of the summary (:mod:`slt_bench.reporting.summary`) and says how
they are printed; the numbers themselves stay in its frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from slt_bench.reporting import columns
from slt_bench.reporting.columns import Column
from slt_bench.reporting.published import Line

FINAL_NOTE = "The test set after the last update; sd over seeds."
BIMODAL_NOTE = (
    "Settled: median of the last five validation accuracies of a trial; solved: settled at or "
    "above the task's level; IQM: interquartile mean over seeds. Final: the test set after the "
    "last update."
)
PUBLISHED_NOTE = (
    "A published number is one run. Difference: positive is better than published; none where the "
    "two are not comparable. Published weights: as printed (count of the published network). "
    "Weights: those of the network trained here, another one where the reason names a size that "
    "differs."
)
DENSE_NOTE = "Differences to dense are taken seed by seed; positive is better."
FLOOR_NOTE = "Recovered = (row - floor) / (dense - floor): 0 is the map removed, 1 is dense."
PARAMETER_NOTE = (
    "Exact counts of trainable weights. Saved: against the same model with dense in every slot. "
    "Multiply-adds: of the filled slots, for one input vector, by the fast algorithm of each "
    "structure; what ran may do more (the record's strategy)."
)
LATENCY_NOTE = (
    "Step times seen while training, medians over updates and seeds: an estimate, without verdict. "
    "Ratios are within one machine."
)
MATRIX_NOTE = (
    "Mean ± sd over seeds of the final test metric; where a trial either solves its task or does "
    "not, the interquartile mean of the settled accuracy and how many seeds solved it."
)
WEIGHTS_NOTE = "Trainable weights of the whole model, and the change against dense."


@dataclass(frozen=True)
class Table:
    """Lines of a summary and the columns that are shown of them; ``columns`` end with the keys
    or ``notes`` name them."""

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> pd.DataFrame:
        """What people read: texts under headers."""
        lines = self.frame.to_dict("records")
        return pd.DataFrame({c.header: [c.text(line) for line in lines] for c in self.columns})

    @property
    def raw(self) -> pd.DataFrame:
        """The numbers behind it, at full precision."""
        fields = dict.fromkeys(name for column in self.columns for name in column.fields)
        return self.frame.reindex(columns=list(fields))


def frame_of(lines: Sequence[Line], names: Sequence[str]) -> pd.DataFrame:
    """The fields ``names`` of the lines; None where a line has no value."""
    rows = [[line.get(name) for name in names] for line in lines]
    return pd.DataFrame(rows, columns=list(names), dtype=object)


def table_of(
    name: str, title: str, caption: str, lines: Sequence[Line], chosen: Sequence[Column]
) -> Table:
    """A table of lines; columns without any value go away, but for the first."""
    frame = frame_of(lines, list(dict.fromkeys(f for column in chosen for f in column.fields)))
    shown = [c for c in chosen[1:] if frame[list(c.fields)].notna().any(axis=None)]
    return Table(name, title, caption, frame, (chosen[0], *shown))


def make_tables(summary: pd.DataFrame, head: str, against: Collection[str]) -> Iterator[Table]:
    """The tables of a summary that has lines. ``head`` begins each caption.

    Several tasks without published numbers get front tables with a column a task. The accuracy
    tables have every row; the others those that have a number to show.
    """
    repeated = summary.duplicated(["label", "task"]).any()
    if summary["task"].nunique() > 1 and not repeated and summary["published"].isna().all():
        yield from (_matrix(summary, head), _weights(summary, head))
    for _, lines in summary.groupby("task", sort=False):
        yield _accuracy(lines, head)
    if "published" in against and summary["published"].notna().any():
        yield _published(summary, head)
    done = summary[summary["n"] > 0]
    compared = done[done["compared"].astype(bool) & (done["role"] != "floor")]
    yield from _comparisons(compared, head, against)
    if len(done):
        yield _table("parameters", "Parameters", PARAMETER_NOTE, done, head, columns.PARAMETERS)
        yield _table("latency", "Latency", LATENCY_NOTE, done, head, columns.LATENCY)


def _table(
    name: str,
    title: str,
    note: str,
    lines: pd.DataFrame,
    head: str,
    chosen: Sequence[Column],
    notes: Sequence[str] = (),
) -> Table:
    """A table of lines. What all lines have in common moves into the caption, and columns without
    any value go away."""
    shown, said = [columns.ROW], [head]
    labels_say_it = all(map(str.startswith, lines["label"], lines["baseline"]))
    for column in (*columns.IDENTITY, *chosen):
        values = lines[list(column.fields)].dropna(how="all")
        if values.empty or (column is columns.BASELINE and labels_say_it):
            continue
        if all(column.text(line) == columns.NONE for line in lines.to_dict("records")):
            continue
        if column not in columns.COMMON or values.iloc[:, 0].nunique() > 1:
            shown.append(column)
        elif values.iloc[0, 0]:
            said.append(f"{column.header} {values.iloc[0, 0]}")
    said.append(f"seeds {_seeds(lines)}")
    return Table(
        name=name,
        title=title,
        caption=f"{', '.join(said)}. {note}",
        frame=lines,
        columns=(*shown, columns.KEYS),
        notes=tuple(dict.fromkeys(notes)),
    )


def _accuracy(lines: pd.DataFrame, head: str) -> Table:
    bimodal = lines["settled_iqm"].notna().any()
    chosen = columns.BIMODAL_ACCURACY if bimodal else columns.ACCURACY
    note = BIMODAL_NOTE if bimodal else FINAL_NOTE
    finished = lines[lines["metric"].notna()]
    line = (finished if len(finished) else lines).iloc[0].to_dict()
    task = line["task"]
    title = columns.task_metric(line)
    reasons = [
        f"{line['label']}: {reason}"
        for line in lines.to_dict("records")
        for reason in line["reasons"]
    ]
    return _table(f"accuracy_{task}", title, note, lines, head, chosen, reasons)


def _published(summary: pd.DataFrame, head: str) -> Table:
    lines = summary[summary["published"].notna()]
    known = [
        f"{line['label']} ({line['task']}): {line['known']}"
        for line in lines.to_dict("records")
        if line["known"]
    ]
    title = "Against the published numbers"
    return _table("published", title, PUBLISHED_NOTE, lines, head, columns.PUBLISHED, known)


def _comparisons(lines: pd.DataFrame, head: str, against: Collection[str]) -> Iterator[Table]:
    """One table, or none where nothing can be compared."""
    chosen: list[Column] = []
    names, notes = [], []
    if "dense" in against:
        chosen += columns.AGAINST_DENSE
        names.append("dense")
        notes.append(DENSE_NOTE)
    if "floor" in against:
        chosen += columns.AGAINST_FLOOR
        names.append("the floor")
        notes.append(FLOOR_NOTE)
    fields = [name for column in chosen for name in column.fields]
    lines = lines[lines[fields].notna().any(axis=1)]
    if len(lines):
        title = f"Against {' and '.join(names)}"
        note = " ".join((*notes, "In brackets: 95 % intervals over seeds."))
        chosen.insert(0, columns.COMPARED_BY)
        yield _table("comparisons", title, note, lines, head, chosen)


# Front tables: a column a task ---------------------------------------------------------------


def _matrix(summary: pd.DataFrame, head: str) -> Table:
    def text(line: Line) -> str:
        if not line["n"] or line["settled_iqm"] is None:
            value = columns.mean_sd(line)
        else:
            settled = columns.number(line["settled_iqm"], columns.digits(line))
            value = f"{settled} ({columns.solved(line)} solved)"
        some = 0 < line["n"] < line["asked"]
        return f"{value}, n {line['n']}/{line['asked']}" if some else value

    fields = ("mean", "sd", "settled_iqm", "solved", "n", "asked", "unfinished", "unit")
    headers = {
        line["task"]: columns.task_metric(line)
        for line in summary.sort_values("n", kind="stable").to_dict("records")
    }
    return _by_task("matrix", "All tasks", MATRIX_NOTE, summary, head, fields, text, headers)


def _weights(summary: pd.DataFrame, head: str) -> Table:
    def text(line: Line) -> str:
        saved = line["reduction"]
        return columns.count(line["parameter_count"]) + (f" ({-saved:+.1f} %)" if saved else "")

    fields = ("parameter_count", "reduction")
    headers = {task: task for task in summary["task"]}
    table = _by_task("weights", "Weights", WEIGHTS_NOTE, summary, head, fields, text, headers)
    return replace(table, notes=())  # the same keys as those of the table before it


def _by_task(
    name: str,
    title: str,
    note: str,
    summary: pd.DataFrame,
    head: str,
    fields: tuple[str, ...],
    text: Callable[[Line], str],
    headers: dict[str, str],
) -> Table:
    """A table with a column a task; the floor of each task stands in the row of removed maps."""
    rows: dict[str, Line] = {}
    keys: dict[str, list[str]] = {}
    for line in summary.to_dict("records"):
        label = "removed (floor)" if line["role"] == "floor" else line["label"]
        row = rows.setdefault(label, {"label": label})
        row |= {f"{line['task']}.{name}": line[name] for name in fields}
        if line["keys"]:
            keys.setdefault(label, []).append(f"{line['task']} {columns.keys(line)}")

    def cell(task: str, row: Line) -> str:
        line = {name: row[f"{task}.{name}"] for name in fields}
        return columns.NONE if line[fields[0]] is None and not line.get("asked") else text(line)

    tasks = list(summary["task"].unique())
    shown = [
        Column(headers[task], tuple(f"{task}.{field}" for field in fields), partial(cell, task))
        for task in tasks
    ]
    names = ["label", *(field for column in shown for field in column.fields)]
    frame = frame_of(list(rows.values()), names)
    budgets = ", ".join(summary["budget"].unique())
    datasets = ", ".join(sorted(summary["dataset"].unique()))
    caption = f"{head}, budget {budgets}, data sets {datasets}, seeds {_seeds(summary)}. {note}"
    notes = tuple(f"Keys of {label}: {'; '.join(of)}" for label, of in keys.items())
    return Table(name, title, caption, frame, (columns.ROW, *shown), notes)


def _seeds(lines: pd.DataFrame) -> str:
    """``0, 1`` or ``0 to 7``."""
    seeds = sorted({seed for line in lines["seeds"] for seed in line})
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))

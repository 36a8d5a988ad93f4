"""The metric over sizes: a curve for each structure, against weights and hidden size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_bench.reporting.figures.style import (
    PUBLISHED,
    drawn,
    first_record,
    heading,
    left_out,
    look,
    metric_label,
    published_label,
    spread,
    weights_axis,
    weights_of,
)
from slt_bench.reporting.outcomes import Outcome, final
from slt_bench.reporting.published import standing


def _hidden_size(outcome: Outcome) -> int | None:
    size: int | None = first_record(outcome)["facts"]["options"].get("hidden_size")
    return size


def series_of(rows: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Rows by what they share when only the hidden size differs, floors left out."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in rows:
        if outcome.role == "floor" or _hidden_size(outcome) is None:
            continue
        changed = {**outcome.settings, **outcome.options, "hidden_size": None}
        where = f" in {'+'.join(outcome.slots)}" if outcome.slots else ""
        groups.setdefault(f"{outcome.baseline}{where} {changed}", []).append(outcome)
    return {name.partition(" {")[0]: points for name, points in groups.items()}


def sizes_figure(series: Mapping[str, Sequence[Outcome]]) -> Figure:
    """The series of one task; published numbers, and other runs of a row, as hollow markers."""
    figure = Figure(figsize=(9.5, 4.4))
    left, right = figure.subplots(1, 2, sharey=True)
    for number, (name, outcomes) in enumerate(series.items()):
        colour, marker = look(number)
        points = sorted(outcomes, key=weights_of)
        values = [list(final(o.records, _metric(o)).values()) for o in points]
        for axes, x in ((left, [*map(weights_of, points)]), (right, [*map(_hidden_size, points)])):
            axes.plot(x, [fmean(v) for v in values], color=colour, linewidth=1.2)
            for position, of_seeds in zip(x, values, strict=True):
                assert position is not None
                spread(axes, position, of_seeds, colour, marker, None)
            _published_runs(axes, x, points, colour, marker)
        left.plot([], [], marker, color=colour, linestyle="-", label=f"{name}: mean, seeds, range")
        if beside := [outcome for outcome in points if _published(outcome) and drawn(outcome)]:
            label = f"{name}: {published_label(beside[0])} (faint: other runs)"
            left.plot([], [], marker, **_hollow(beside[0], colour), label=label)
    rows = [outcome for outcomes in series.values() for outcome in outcomes]
    weights_axis(left, rows)
    right.set_xlabel("hidden size")
    left.set_ylabel(f"test {metric_label(rows[0])}")
    left.set_title(heading(rows) + left_out(filter(_published, rows)), loc="left", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _metric(outcome: Outcome) -> str:
    return str(first_record(outcome)["facts"]["metric"]["name"])


def _published(outcome: Outcome) -> list[float]:
    """The published number of a row, then its other runs; nothing where it has none."""
    if (value := outcome.published.get(_metric(outcome))) is None:
        return []
    return [value, *outcome.published.get("other_runs", ())]


def _hollow(outcome: Outcome, colour: str) -> dict[str, Any]:
    """In the colour of the series; grey where the published run was trained longer."""
    grey = standing(outcome) == "partial"
    return {
        "color": PUBLISHED if grey else colour,
        "markerfacecolor": "none",
        "markersize": 6,
        "linestyle": "none",
    }


def _published_runs(
    axes: Axes, x: Sequence[Any], points: Sequence[Outcome], colour: str, marker: str
) -> None:
    for position, outcome in zip(x, points, strict=True):
        if drawn(outcome):
            for index, value in enumerate(_published(outcome)):
                faint = 1.0 if index == 0 else 0.5
                axes.plot(position, value, marker, alpha=faint, **_hollow(outcome, colour))

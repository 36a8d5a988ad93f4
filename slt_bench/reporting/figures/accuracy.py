"""The metric against the number of weights, a point a row."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from matplotlib.figure import Figure

from slt_bench.reporting.figures.style import (
    DENSE,
    FLOOR,
    first_record,
    heading,
    look,
    metric_label,
    spread,
    weights_axis,
    weights_of,
)
from slt_bench.reporting.outcomes import Outcome, scores


def accuracy_figure(rows: Sequence[Outcome]) -> Figure:
    """The rows of one task, dense and the floor in colours of their own."""
    figure = Figure(figsize=(7.5, 4.2))
    axes = figure.add_subplot()
    seen: set[str] = set()
    numbered = 0
    for outcome, x in zip(rows, _side_by_side([weights_of(o) for o in rows]), strict=True):
        values = list(scores(outcome.records).values())
        if outcome.role == "dense":
            colour, marker, label = DENSE, "s", "dense"
        elif outcome.role == "floor":
            colour, marker, label = FLOOR, "X", f"removed ({outcome.baseline})"
            if len([o for o in rows if o.role == "floor"]) == 1:
                axes.axhline(fmean(values), color=FLOOR, linewidth=0.8, linestyle=":", zorder=0)
        else:
            colour, marker = look(numbered)
            label, numbered = outcome.label, numbered + 1
        spread(axes, x, values, colour, marker, None if label in seen else label)
        seen.add(label)
    weights_axis(axes, rows)
    if len({weights_of(outcome) for outcome in rows}) < len(rows):
        axes.set_xlabel(f"{axes.get_xlabel()} (equal counts side by side)")
    kind = "settled" if "settled" in first_record(rows[0])["metrics"] else "test"
    axes.set_ylabel(f"{kind} {metric_label(rows[0])}")
    axes.set_title(heading(rows), loc="left", fontsize=10)
    figure.legend(loc="outside right upper")
    return figure


def _side_by_side(weights: Sequence[int]) -> list[float]:
    """Positions on a log axis; equal counts are moved apart by a marker's width."""
    step = (max(weights) / max(min(weights), 1)) ** 0.025
    step = max(step, 1.001)
    places = []
    for index, count in enumerate(weights):
        same = weights.count(count)
        place = weights[:index].count(count) - (same - 1) / 2
        places.append(count * step**place)
    return places

"""How figures look, and what all of them say: headings, axes, markers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from slt_bench.reporting.columns import metric_name
from slt_bench.reporting.outcomes import Outcome
from slt_bench.reporting.published import standing
from slt_bench.store import Record

# Okabe, Ito (2008): colours that colour-blind readers tell apart; black is dense, grey the floor.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
MARKERS = ("o", "^", "D", "v", "P", "p", "*")
DENSE, FLOOR, PUBLISHED = "#000000", "#767676", "#999999"
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def look(number: int) -> tuple[str, str]:
    """The colour and the marker of the number-th row or curve."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def first_record(outcome: Outcome) -> Record:
    """The record of the lowest seed of a row that has one."""
    record = outcome.first
    assert record is not None, "figures show rows that have finished"
    return record


def metric_label(outcome: Outcome) -> str:
    """The metric and its unit, in words."""
    metric = first_record(outcome)["facts"]["metric"]
    return metric_name(metric["name"], metric["unit"])


def weights_of(outcome: Outcome) -> int:
    """Trainable weights of the whole model."""
    return int(first_record(outcome)["parameter_count"])


def spread(
    axes: Axes, x: float, values: Sequence[float], colour: str, marker: str, label: str | None
) -> None:
    """The mean as a marker, each seed as a small dot, and the range as a thin line."""
    if len(values) > 1:
        axes.vlines(x, min(values), max(values), color=colour, linewidth=1)
        axes.plot([x] * len(values), values, ".", color=colour, markersize=4)
    axes.plot(
        x, fmean(values), marker, color=colour, markersize=8, markeredgecolor="white", label=label
    )


def heading(rows: Sequence[Outcome]) -> str:
    """``mnist, data set mnist-5k, budget quick, 3 seeds``."""
    seeds = max(len(outcome.records) for outcome in rows)
    return f"{experiment(rows)}, {seeds} seed{'s' * (seeds > 1)}"


def experiment(rows: Sequence[Outcome]) -> str:
    """``mnist, data set mnist-5k, budget quick``."""
    datasets = ", ".join(dict.fromkeys(outcome.dataset for outcome in rows))
    budgets = ", ".join(dict.fromkeys(outcome.budget for outcome in rows))
    return f"{rows[0].task}, data set {datasets}, budget {budgets}"


def weights_axis(axes: Axes, rows: Sequence[Outcome]) -> None:
    """A log axis of the numbers of weights."""
    weights = [weights_of(outcome) for outcome in rows]
    ratio = max(weights) / max(min(weights), 1)
    axes.set_xscale("log")
    axes.set_xlabel("trainable weights of the model, log scale")
    axes.margins(x=0.08)
    axes.xaxis.set_minor_locator(NullLocator())
    # Round numbers, but enough of them where the counts are close together.
    steps = (1, 3) if ratio > 20 else (1, 2, 5)
    axes.xaxis.set_major_locator(LogLocator(subs=steps) if ratio > 4 else MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


# Published numbers ---------------------------------------------------------------------------


def drawn(outcome: Outcome) -> bool:
    """Whether the row's published numbers stand beside its runs."""
    return standing(outcome) != "not comparable"


def published_label(outcome: Outcome) -> str:
    """``published``, as a legend says it."""
    return "published, trained longer" if standing(outcome) == "partial" else "published"


def left_out(rows: Iterable[Outcome]) -> str:
    """What a heading adds where published numbers of ``rows`` are not drawn."""
    if all(map(drawn, rows)):
        return ""
    return "\npublished numbers left out: not comparable"

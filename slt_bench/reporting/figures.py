"""Figures of a page, drawn from its outcomes: which ones, what the records hold decides.

* ``accuracy_<task>``: the metric against the number of weights, a point a row.
* ``sizes_<task>``: the same as a curve for each structure, where rows differ in hidden size.
* ``penalty``: perfect reconstruction + alias cancellation over training, where a row has a
  published curve of it.
* ``filters``: the learned filters, where every row of the suite has some.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from slt_bench.reporting.columns import metric_name
from slt_bench.reporting.outcomes import Outcome, final, scores
from slt_bench.reporting.pages import Page
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


def draw_figures(page: Page, folder: Path) -> list[Path]:
    """Draw every figure that the page has records for as ``folder/<page>_<figure>.png``."""
    written = []
    with mpl.rc_context(STYLE):
        for name, figure in _figures(page):
            path = folder / f"{page.name}_{name}.png"
            folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            figure.savefig(temporary, format="png", dpi=150)
            temporary.replace(path)
            written.append(path)
    return written


def _figures(page: Page) -> Iterator[tuple[str, Figure]]:
    finished = [outcome for outcome in page.outcomes if outcome.records]
    for task in dict.fromkeys(outcome.task for outcome in finished):
        rows = [outcome for outcome in finished if outcome.task == task]
        series = _series(rows)
        if any(len(points) > 2 for points in series.values()):
            yield f"sizes_{task}", _sizes(series)
        elif len(rows) > 1:
            yield f"accuracy_{task}", _accuracy(rows)
    if any("curve" in outcome.published for outcome in finished):
        yield "penalty", _penalty([o for o in finished if _layers(o.first, "filters")])
    own = [outcome for outcome in page.outcomes if not outcome.reference]
    with_filters = [outcome for outcome in own if _layers(outcome.first, "filters")]
    if own and len(own) == len(with_filters):
        yield "filters", _filters(with_filters)


# Accuracy against parameters -----------------------------------------------------------------


def _first(outcome: Outcome) -> Record:
    record = outcome.first
    assert record is not None, "figures show rows that have finished"
    return record


def _metric(outcome: Outcome) -> str:
    return str(_first(outcome)["facts"]["metric"]["name"])


def _metric_name(outcome: Outcome) -> str:
    metric = _first(outcome)["facts"]["metric"]
    return metric_name(metric["name"], metric["unit"])


def _weights(outcome: Outcome) -> int:
    return int(_first(outcome)["parameter_count"])


def _spread(
    axes: Axes, x: float, values: Sequence[float], colour: str, marker: str, label: str | None
) -> None:
    """The mean as a marker, each seed as a small dot, and the range as a thin line."""
    if len(values) > 1:
        axes.vlines(x, min(values), max(values), color=colour, linewidth=1)
        axes.plot([x] * len(values), values, ".", color=colour, markersize=4)
    axes.plot(
        x, fmean(values), marker, color=colour, markersize=8, markeredgecolor="white", label=label
    )


def _accuracy(rows: Sequence[Outcome]) -> Figure:
    figure = Figure(figsize=(7.5, 4.2))
    axes = figure.add_subplot()
    seen: set[str] = set()
    numbered = 0
    for outcome, x in zip(rows, _side_by_side([_weights(o) for o in rows]), strict=True):
        values = list(scores(outcome.records).values())
        if outcome.role == "dense":
            colour, marker, label = DENSE, "s", "dense"
        elif outcome.role == "floor":
            colour, marker, label = FLOOR, "X", f"removed ({outcome.baseline})"
            if len([o for o in rows if o.role == "floor"]) == 1:
                axes.axhline(fmean(values), color=FLOOR, linewidth=0.8, linestyle=":", zorder=0)
        else:
            colour, marker = COLOURS[numbered % len(COLOURS)], MARKERS[numbered % len(MARKERS)]
            label, numbered = outcome.label, numbered + 1
        _spread(axes, x, values, colour, marker, None if label in seen else label)
        seen.add(label)
    _weights_axis(axes, rows)
    if len({_weights(outcome) for outcome in rows}) < len(rows):
        axes.set_xlabel(f"{axes.get_xlabel()} (equal counts side by side)")
    kind = "settled" if "settled" in _first(rows[0])["metrics"] else "test"
    axes.set_ylabel(f"{kind} {_metric_name(rows[0])}")
    axes.set_title(_heading(rows), loc="left", fontsize=10)
    figure.legend(loc="outside right upper")
    return figure


def _side_by_side(weights: Sequence[int]) -> list[float]:
    """Positions on a log axis; equal counts are moved apart by a hundredth of its length."""
    step = (max(weights) / max(min(weights), 1)) ** 0.012
    step = max(step, 1.001)
    places = []
    for index, count in enumerate(weights):
        same = weights.count(count)
        place = weights[:index].count(count) - (same - 1) / 2
        places.append(count * step**place)
    return places


def _heading(rows: Sequence[Outcome]) -> str:
    """``mnist, data set mnist-5k, budget quick, 3 seeds``."""
    seeds = max(len(outcome.records) for outcome in rows)
    return f"{_experiment(rows)}, {seeds} seed{'s' * (seeds > 1)}"


def _experiment(rows: Sequence[Outcome]) -> str:
    datasets = ", ".join(dict.fromkeys(outcome.dataset for outcome in rows))
    budgets = ", ".join(dict.fromkeys(outcome.budget for outcome in rows))
    return f"{rows[0].task}, data set {datasets}, budget {budgets}"


def _weights_axis(axes: Axes, rows: Sequence[Outcome]) -> None:
    weights = [_weights(outcome) for outcome in rows]
    ratio = max(weights) / max(min(weights), 1)
    axes.set_xscale("log")
    axes.set_xlabel("trainable weights of the model, log scale")
    axes.margins(x=0.08)
    axes.xaxis.set_minor_locator(NullLocator())
    # Round numbers, but enough of them where the counts are close together.
    steps = (1, 3) if ratio > 20 else (1, 2, 5)
    axes.xaxis.set_major_locator(LogLocator(subs=steps) if ratio > 4 else MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


# Accuracy over sizes (figure 4) --------------------------------------------------------------


def _hidden_size(outcome: Outcome) -> int | None:
    size: int | None = _first(outcome)["facts"]["options"].get("hidden_size")
    return size


def _series(rows: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Rows by what they share when only the hidden size differs, floors left out."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in rows:
        if outcome.role == "floor" or _hidden_size(outcome) is None:
            continue
        changed = {**outcome.settings, **outcome.options, "hidden_size": None}
        where = f" in {'+'.join(outcome.slots)}" if outcome.slots else ""
        groups.setdefault(f"{outcome.baseline}{where} {changed}", []).append(outcome)
    return {name.partition(" {")[0]: points for name, points in groups.items()}


def _sizes(series: Mapping[str, Sequence[Outcome]]) -> Figure:
    figure = Figure(figsize=(9.5, 4.4))
    left, right = figure.subplots(1, 2, sharey=True)
    for number, (name, outcomes) in enumerate(series.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        points = sorted(outcomes, key=_weights)
        values = [list(final(o.records, _metric(o)).values()) for o in points]
        for axes, x in ((left, [*map(_weights, points)]), (right, [*map(_hidden_size, points)])):
            axes.plot(x, [fmean(v) for v in values], color=colour, linewidth=1.2)
            for position, of_seeds in zip(x, values, strict=True):
                assert position is not None
                _spread(axes, position, of_seeds, colour, marker, None)
            _published_runs(axes, x, points, colour, marker)
        left.plot([], [], marker, color=colour, linestyle="-", label=f"{name}: mean, seeds, range")
        if any(_published_value(outcome) is not None for outcome in points):
            left.plot(
                [], [], marker, **_hollow(colour), label=f"{name}: published (faint: other runs)"
            )
    rows = [outcome for outcomes in series.values() for outcome in outcomes]
    _weights_axis(left, rows)
    right.set_xlabel("hidden size")
    left.set_ylabel(f"test {_metric_name(rows[0])}")
    left.set_title(_heading(rows), loc="left", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _hollow(colour: str) -> dict[str, Any]:
    return {"color": colour, "markerfacecolor": "none", "markersize": 6, "linestyle": "none"}


def _published_value(outcome: Outcome) -> float | None:
    value: float | None = outcome.published.get(_metric(outcome))
    return value


def _published_runs(
    axes: Axes, x: Sequence[Any], points: Sequence[Outcome], colour: str, marker: str
) -> None:
    """The published number as a hollow marker; other runs of the same row fainter."""
    for position, outcome in zip(x, points, strict=True):
        value = _published_value(outcome)
        if value is not None:
            axes.plot(position, value, marker, **_hollow(colour))
        for other in outcome.published.get("other_runs", ()):
            axes.plot(position, other, marker, alpha=0.5, **_hollow(colour))


# Penalty and filters (figures 2 and 3) -------------------------------------------------------


def _layers(record: Record | None, name: str) -> dict[str, Any]:
    """The last summaries of the layers that report ``name``, by layer."""
    if not record or not record["summary"]:
        return {}
    layers: dict[str, Any] = record["summary"][-1]["layers"]
    return {layer: summary for layer, summary in layers.items() if name in summary}


def _penalties(record: Record) -> list[tuple[float, float]]:
    """(epoch, perfect reconstruction + alias cancellation, summed over the layers); updates take
    the place of epochs where a task has none. A penalty of 0 has no place on a log axis."""
    epochs = record["facts"]["options"].get("epochs")
    each = record["metrics"]["updates"] / epochs if epochs else 1
    points = []
    for point in record["summary"]:
        layers = [layer for layer in point["layers"].values() if "perfect_reconstruction" in layer]
        total = sum(s["perfect_reconstruction"] + s["alias_cancellation"] for s in layers)
        if layers and total > 0:
            points.append((point["update"] / each, total))
    return points


def _penalty(rows: Sequence[Outcome]) -> Figure:
    figure = Figure(figsize=(7.5, 4.2))
    axes = figure.add_subplot()
    for number, outcome in enumerate(rows):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        for index, record in enumerate(outcome.records.values()):
            x, y = zip(*_penalties(record), strict=True)
            label = f"{outcome.label}: each seed" if index == 0 else None
            axes.plot(x, y, marker=marker, markersize=3, color=colour, linewidth=1.2, label=label)
        if curve := outcome.published.get("curve"):
            axes.plot(
                range(len(curve)),
                curve,
                color=PUBLISHED,
                marker=marker,
                markersize=5,
                markerfacecolor="none",
                linewidth=1,
                linestyle="--",
                label=f"{outcome.label}: published",
                zorder=3,
            )
    epochs = all("epochs" in _first(outcome)["facts"]["options"] for outcome in rows)
    axes.set_yscale("log")
    axes.set_xlabel("epoch" if epochs else "update")
    axes.set_ylabel("perfect reconstruction\n+ alias cancellation, log scale")
    axes.set_title(_heading(rows), loc="left", fontsize=10)
    figure.legend(loc="outside right upper")
    return figure


def _filters(rows: Sequence[Outcome]) -> Figure:
    """A line of stem plots for each layer of the lowest seed of each row."""
    lines = [
        (outcome, layer, summary)
        for outcome in rows
        for layer, summary in _layers(outcome.first, "filters").items()
    ]
    figure = Figure(figsize=(8.5, 2.3 * len(lines) + 0.3))
    figure.suptitle(_experiment(rows), x=0.02, ha="left", fontsize=10)
    for part, (outcome, layer, summary) in zip(
        figure.subfigures(len(lines), 1, squeeze=False)[:, 0], lines, strict=True
    ):
        filters = summary["filters"]
        part.suptitle(
            f"{outcome.label}, {layer}, seed {min(outcome.records)}: "
            f"perfect reconstruction {summary['perfect_reconstruction']:.1e}, "
            f"alias cancellation {summary['alias_cancellation']:.1e}",
            x=0.02,
            ha="left",
            fontsize=10,
        )
        for axes, (name, taps) in zip(
            part.subplots(1, len(filters), sharey=True), filters.items(), strict=True
        ):
            axes.axhline(0, color=FLOOR, linewidth=0.8)
            axes.vlines(range(len(taps)), 0, taps, color=COLOURS[0], linewidth=1.5)
            axes.plot(range(len(taps)), taps, "o", color=COLOURS[0], markersize=5)
            axes.set_title(name.replace("_", " "), fontsize=10)
            axes.set_xlabel("tap")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        part.axes[0].set_ylabel("weight")
    return figure

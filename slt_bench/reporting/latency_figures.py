"""Figures of a latency page, drawn from its lines: which ones, what was timed decides.

* ``times_<machine>``: time against n for each structure, a panel a mode; where a structure falls
  below dense for good is marked.
* ``accuracy``: what training came to against the time of a call at the size of the task's slot, a
  panel a task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from scipy.optimize import isotonic_regression

from slt_bench.evidence import Interval
from slt_bench.reporting.columns import metric_name
from slt_bench.reporting.figures.style import COLOURS, DENSE, FLOOR, MARKERS
from slt_bench.reporting.joined import Joined, Panel, bench, panels
from slt_bench.reporting.outcomes import Outcome
from slt_bench.reporting.published import Line
from slt_bench.reporting.trained import Trained, trained
from slt_bench.timing.cell import MODES, row_label
from slt_bench.timing.statistics import crossover

_LINES = ("-", "--", ":", "-.")
_PANEL = 4.6  # inches, of a side


def latency_figures(
    lines: Sequence[Line], outcomes: Callable[[], Sequence[Outcome]]
) -> Iterator[tuple[str, Figure]]:
    """(name, figure) for everything that there are times for.

    ``lines``: of a latency page, each with its ``trial``. ``outcomes``: what was trained; asked for
    only where there are times.
    """
    timed = [
        line
        for line in lines
        if "median" in line and not line["protocol"] and not line["trial"].get("copy")
    ]
    machines: dict[tuple[Any, ...], list[Line]] = {}
    for line in timed:
        machines.setdefault(bench(line), []).append(line)
    for machine, group in machines.items():
        square = [line for line in group if line["n_in"] == line["n_out"]]
        if len({line["n_in"] for line in square}) > 1:
            yield f"times_{_slug(machine)}", _times(square)
    if timed and (found := panels(timed, trained(outcomes()))):
        yield "accuracy", _accuracy(found)


def _slug(words: Sequence[str]) -> str:
    return "_".join(re.sub(r"\W+", "_", word).strip("_").lower() for word in words)


@dataclass(frozen=True)
class _Look:
    colour: str
    marker: str
    line: str = "-"


def _looks(baselines: Sequence[str]) -> dict[str, _Look]:
    """Dense in black; every other baseline with a colour and a marker of its own."""
    found = {"dense": _Look(DENSE, "s")}
    for number, name in enumerate(sorted({*baselines} - {"dense"})):
        found[name] = _Look(COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])
    return found


# Time against n ------------------------------------------------------------------------------


def _times(lines: Sequence[Line]) -> Figure:
    panels: dict[str, list[Line]] = {}
    for line in sorted(lines, key=lambda line: MODES.index(line["trial"]["mode"])):
        steps = f", {line['trial']['steps']} steps" if "steps" in line["trial"] else ""
        panels.setdefault(f"{line['trial']['mode']}{steps}, {line['measure']}", []).append(line)
    looks = _looks([line["trial"]["baseline"] for line in lines])
    figure = Figure(figsize=(_PANEL * len(panels) + 2.6, _PANEL + 0.6))
    figure.suptitle(", ".join(bench(lines[0])), x=0.01, ha="left", fontsize=10)
    every = figure.subplots(1, len(panels), squeeze=False)[0]
    handles: dict[str, Any] = {}
    for axes, (title, members) in zip(every, panels.items(), strict=True):
        drawn = _draw_series(axes, series(members), looks)
        handles = {**drawn, **handles}
        axes.set_title(title, loc="left", fontsize=10)
    every[0].set_ylabel("time of a call (ms), log scale\nmedian and range over rounds")
    names = sorted(handles, key=lambda name: (not name.startswith("dense"), name))
    figure.legend([handles[name] for name in names], names, loc="outside right upper")
    return figure


def series(lines: Sequence[Line]) -> dict[tuple[str, str], list[Line]]:
    """{(baseline, label): lines by size}: one curve of time against n each.

    Layers whose size was solved for one budget are one curve, though their settings change with n.
    """
    solved = {
        (line["trial"]["baseline"], line["match"])
        for line in lines
        if line["match"] and line["trial"]["settings"]
    }
    found: dict[tuple[str, str], list[Line]] = {}
    for line in sorted(lines, key=lambda line: (line["label"], line["n_in"])):
        name = line["trial"]["baseline"]
        label = row_label(line["trial"])
        if (name, line["match"]) in solved:
            label = f"{name} at {line['match']}"
        found.setdefault((name, label), []).append(line)
    return {key: sorted(found[key], key=lambda line: line["n_in"]) for key in sorted(found)}


def _draw_series(
    axes: Axes,
    curves: Mapping[tuple[str, str], Sequence[Line]],
    looks: Mapping[str, _Look],
) -> dict[str, Any]:
    """Draw every curve and its crossing with dense; {label: handle} for the legend."""
    dense = {line["n_in"]: line["median"] for line in curves.get(("dense", "dense"), ())}
    handles: dict[str, Any] = {}
    told = []
    for (name, label), points in curves.items():
        look = looks[name]
        style = _LINES[[key for key in curves if key[0] == name].index((name, label)) % 4]
        x = [point["n_in"] for point in points]
        y = [1e3 * point["median"] for point in points]
        ends = [
            [1e3 * (point["median"] - point["lowest"]) for point in points],
            [1e3 * (point["highest"] - point["median"]) for point in points],
        ]
        handles[label] = axes.errorbar(
            x, y, ends, color=look.colour, marker=look.marker, linestyle=style, markersize=6,
            markeredgecolor="white", markeredgewidth=0.5, linewidth=1.4, elinewidth=1.2,
            zorder=3 if name == "dense" else 2,
        )  # fmt: skip
        shared = [point for point in points if point["n_in"] in dense and "ratio" in point]
        if name != "dense" and len(shared) > 1:
            told.append(f"{label}: {_mark_crossover(axes, shared, dense, look)}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = {point["n_in"] for points in curves.values() for point in points}
    axes.xaxis.set_major_locator(FixedLocator(_apart(sorted(sizes))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_xlabel("\n".join(["features in and out (n), log scale", *told]), fontsize=9)
    return handles


def _mark_crossover(
    axes: Axes, points: Sequence[Line], dense: Mapping[int, float], look: _Look
) -> str:
    """A ring where a curve falls below dense's for good, by the ratios to dense in the same round;
    in words how it stands to dense's."""
    sizes, ratios = [point["n_in"] for point in points], [point["ratio"] for point in points]
    where = crossover(sizes, ratios, [1.0] * len(sizes))
    if where is None:
        below = ratios[-1] < 1
        return "below dense at every size" if below else f"not below dense at n = {sizes[-1]:,}"
    logs = np.log([(n, dense[n]) for n in sizes])
    height = exp(float(np.interp(log(where), logs[:, 0], logs[:, 1])))
    axes.plot(
        where, 1e3 * height, "o", color=look.colour, markersize=13, markerfacecolor="none",
        markeredgewidth=1.6, zorder=4,
    )  # fmt: skip
    return f"below dense from n = {where:,.0f} (ring)"


def _apart(values: Sequence[int]) -> list[int]:
    """Those whose labels do not touch on a log axis, the smallest first."""
    least = (max(values) / min(values)) ** 0.13
    kept = [values[0]]
    for value in values[1:]:
        if value >= kept[-1] * least:
            kept.append(value)
    return kept


# Accuracy against latency --------------------------------------------------------------------


def _accuracy(panels: Sequence[Panel]) -> Figure:
    """A panel a task, one below the other, with the names of the points in a column beside it."""
    figure = Figure(figsize=(8.5, sum(map(_height, panels)) + 0.3))
    names = [one.row.outcome.baseline for panel in panels for one in panel.rows]
    looks = _looks(names)
    every = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[*map(_height, panels)])[
        :, 0
    ]
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.12)  # type: ignore[call-arg]
    for axes, panel in zip(every, panels, strict=True):
        _draw_panel(axes, panel, looks)
    if not all(one.exact for panel in panels for one in panel.rows):
        hollow = "hollow: timed with other settings than it was trained with"
        handle = every[0].plot([], [], "o", color=FLOOR, markerfacecolor="none", label=hollow)
        figure.legend(handles=handle, loc="outside lower left")
    return figure


def _height(panel: Panel) -> float:
    """In inches: room for a line of text for each name."""
    return max(3.4, 1.2 + 0.22 * (len(panel.rows) + 2))


def _draw_panel(axes: Axes, panel: Panel, looks: Mapping[str, _Look]) -> None:
    first, line = panel.rows[0].row, panel.rows[0].line
    names: list[tuple[float, float, str]] = []
    for one, label in zip(panel.rows, _labels(panel.rows), strict=True):
        look, value = looks[one.row.outcome.baseline], one.row.value
        face = look.colour if one.exact else "white"
        _point(axes, one.line, value, look, face)
        names.append((1e3 * one.line["median"], value.mean, label))
    if panel.dense and first.dense:
        _point(axes, panel.dense, first.dense, looks["dense"], DENSE)
        names.append((1e3 * panel.dense["median"], first.dense.mean, "dense"))
    axes.set_xscale("log")
    axes.margins(x=0.06, y=0.12)
    if first.removed:
        axes.axhline(first.removed.mean, color=FLOOR, linewidth=0.9, linestyle=":", zorder=0)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 4 * low else MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    trial, (n, m), (slot_n, slot_m) = line["trial"], panel.shape, first.shape
    where = "its slot's shape"
    if panel.shape != first.shape:
        where = f"the timed square nearest to the slot's {slot_n:,} x {slot_m:,}"
    how = f"{trial['mode']}, {line['measure']}, {', '.join(bench(line)[1:])}, {bench(line)[0]}"
    axes.set_xlabel(f"time of a call at {n:,} x {m:,}, {where} (ms), log scale\n{how}")
    metric = first.metric
    axes.set_ylabel(f"test {metric_name(metric['name'], metric['unit'])}\nmean, 95 % interval")
    axes.set_title(fill(_heading(first, panel), 70), loc="left", fontsize=10)
    if first.removed:
        names.append((axes.get_xlim()[1], first.removed.mean, f"removed ({first.floor_name})"))
    _name_points(axes, names)


def _point(axes: Axes, line: Line, value: Interval, look: _Look, face: str) -> None:
    """The mean with its interval over seeds, and the range of the time over rounds."""
    time = [[1e3 * (line["median"] - line["lowest"])], [1e3 * (line["highest"] - line["median"])]]
    axes.errorbar(
        1e3 * line["median"], value.mean, value.half_width, time, fmt=look.marker,
        color=look.colour, markersize=8, markerfacecolor=face,
        markeredgecolor=look.colour, elinewidth=1,
    )  # fmt: skip


def _labels(rows: Sequence[Joined]) -> list[str]:
    """The baseline, with the settings in which its points differ."""
    labels = []
    for one in rows:
        outcome = one.row.outcome
        same = [other.row.outcome.settings for other in rows
                if other.row.outcome.baseline == outcome.baseline]  # fmt: skip
        changed = {
            name: None
            for settings in same
            for name in settings
            if any(name not in other or other[name] != settings[name] for other in same)
        }
        full = {**one.row.first["facts"]["settings"], **outcome.settings}
        own = (f"{name}={full.get(name, 'default')}" for name in changed)
        labels.append(" ".join([outcome.baseline, *own]))
    return labels


def _heading(row: Trained, panel: Panel) -> str:
    """``mnist, slot fc1, data set mnist-5k, budget quick, 3 seeds``."""
    outcome = row.outcome
    options = "".join(f", {name}={value}" for name, value in outcome.options.items())
    counts = sorted({one.row.value.n for one in panel.rows})
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return (
        f"{outcome.task}, {'+'.join(outcome.slots)}, data set {outcome.dataset}, "
        f"budget {outcome.budget}{options}, {seeds} seed{'s' * (counts[-1] > 1)}"
    )


def _name_points(axes: Axes, names: Sequence[tuple[float, float, str]]) -> None:
    """Labels in a column right of the axes, in the order of their points, joined by thin lines."""
    low, high = axes.get_ylim()
    axes.set_xlim(axes.get_xlim())  # what follows moves no point
    axes.set_ylim(low, high)
    ordered = sorted(names, key=lambda name: name[1])
    wanted = [(y - low) / (high - low) for _, y, _ in ordered]
    gap = min(0.065, 1 / len(ordered))
    for (x, y, label), height in zip(ordered, _spread_out(wanted, gap), strict=True):
        axes.annotate(
            label, (x, y), (1.04, height), textcoords="axes fraction", va="center", fontsize=9,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": "#BBBBBB", "linewidth": 0.7, "relpos": (0, 0.5),
                "shrinkB": 5,
            },
        )  # fmt: skip


def _spread_out(wanted: Sequence[float], gap: float) -> list[float]:
    """Heights in [0, 1], at least ``gap`` apart, as near as can be to those that are wanted, which
    ascend: least squares."""
    steps = gap * np.arange(len(wanted))
    near = isotonic_regression(np.asarray(wanted) - steps).x
    found: list[float] = (near.clip(0, 1 - steps[-1]) + steps).tolist()
    return found

"""What layers learn over training: the penalty, and the filters that came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slt_bench.reporting.figures.style import (
    COLOURS,
    FLOOR,
    PUBLISHED,
    drawn,
    experiment,
    first_record,
    heading,
    left_out,
    look,
    published_label,
)
from slt_bench.reporting.outcomes import Outcome
from slt_bench.store import Record


def layers_with(record: Record | None, name: str) -> dict[str, Any]:
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


def penalty_figure(rows: Sequence[Outcome]) -> Figure:
    """A curve for each seed of each row, beside the published one."""
    figure = Figure(figsize=(7.5, 4.2))
    axes = figure.add_subplot()
    for number, outcome in enumerate(rows):
        colour, marker = look(number)
        for index, record in enumerate(outcome.records.values()):
            x, y = zip(*_penalties(record), strict=True)
            label = f"{outcome.label}: each seed" if index == 0 else None
            axes.plot(x, y, marker=marker, markersize=3, color=colour, linewidth=1.2, label=label)
        curve = outcome.published.get("curve")
        if curve and drawn(outcome):
            axes.plot(
                range(len(curve)),
                curve,
                color=PUBLISHED,
                marker=marker,
                markersize=5,
                markerfacecolor="none",
                linewidth=1,
                linestyle="--",
                label=f"{outcome.label}: {published_label(outcome)}",
                zorder=3,
            )
    epochs = all("epochs" in first_record(outcome)["facts"]["options"] for outcome in rows)
    axes.set_yscale("log")
    axes.set_xlabel("epoch" if epochs else "update")
    axes.set_ylabel("perfect reconstruction\n+ alias cancellation, log scale")
    note = left_out(outcome for outcome in rows if "curve" in outcome.published)
    axes.set_title(heading(rows) + note, loc="left", fontsize=10)
    figure.legend(loc="outside right upper")
    return figure


def filters_figure(rows: Sequence[Outcome]) -> Figure:
    """A line of stem plots for each layer of the lowest seed of each row."""
    lines = [
        (outcome, layer, summary)
        for outcome in rows
        for layer, summary in layers_with(outcome.first, "filters").items()
    ]
    figure = Figure(figsize=(8.5, 2.3 * len(lines) + 0.3))
    figure.suptitle(experiment(rows), x=0.02, ha="left", fontsize=10)
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

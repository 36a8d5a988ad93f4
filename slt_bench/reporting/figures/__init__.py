"""Figures of a page, its own or drawn from its outcomes: which ones, what the records hold decides.

* ``accuracy_<task>``: the metric against the number of weights, a point a row.
* ``sizes_<task>``: the same as a curve for each structure, where rows differ in hidden size.
* ``penalty``: perfect reconstruction + alias cancellation over training, where a row has a
  published curve of it.
* ``filters``: the learned filters, where every row of the suite has some.

Published numbers stand beside runs of the same experiment alone: grey where those trained shorter
than the published ones, and left out, which the heading says, where the two are not comparable by
the rule of the tables (:func:`slt_bench.reporting.published.standing`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from slt_bench.reporting.figures.accuracy import accuracy_figure
from slt_bench.reporting.figures.filters import filters_figure, layers_with, penalty_figure
from slt_bench.reporting.figures.sizes import series_of, sizes_figure
from slt_bench.reporting.figures.style import STYLE
from slt_bench.reporting.pages import Page


def draw_figures(page: Page, folder: Path) -> list[Path]:
    """Draw every figure that the page has records for as ``folder/<page>_<figure>.png``."""
    written = []
    with mpl.rc_context(STYLE):
        for name, figure in figures_of(page):
            path = folder / f"{page.name}_{name}.png"
            folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            figure.savefig(temporary, format="png", dpi=150)
            temporary.replace(path)
            written.append(path)
    return written


def figures_of(page: Page) -> Iterator[tuple[str, Figure]]:
    """Each figure that the page has records for, by its name."""
    if page.figures is not None:
        yield from page.figures()
        return
    finished = [outcome for outcome in page.outcomes if outcome.records]
    for task in dict.fromkeys(outcome.task for outcome in finished):
        rows = [outcome for outcome in finished if outcome.task == task]
        series = series_of(rows)
        if any(len(points) > 2 for points in series.values()):
            yield f"sizes_{task}", sizes_figure(series)
        elif len(rows) > 1:
            yield f"accuracy_{task}", accuracy_figure(rows)
    if any("curve" in outcome.published for outcome in finished):
        yield "penalty", penalty_figure([o for o in finished if layers_with(o.first, "filters")])
    own = [outcome for outcome in page.outcomes if not outcome.reference]
    with_filters = [outcome for outcome in own if layers_with(outcome.first, "filters")]
    if own and len(own) == len(with_filters):
        yield "filters", filters_figure(with_filters)

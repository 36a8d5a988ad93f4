"""What the tests of suites share: the committed files, and small ones to write."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from slt_bench.layers import count_parameters
from slt_bench.suites import Cell, Row, Suite, load_suite, suite_names
from slt_bench.task import Streams, fill_slots, slot_maker
from slt_bench.trial import Trial

SUITES = [load_suite(name) for name in suite_names()]
ROWS = [(suite, row) for suite in SUITES for row in suite.rows]
by_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)

MINIMAL = """
title = "Mine"
budget = "smoke"
seeds = 2
tasks = ["adding"]
floor = "zero"
[[row]]
id = "one"
label = "One"
baselines = ["dense"]
"""

NEW_BASELINE = '''
"""A layer that somebody adds."""

from torch import Tensor, nn


class Added(nn.Linear):
    pass
'''


def by_row(rows: list[tuple[Suite, Row]]) -> pytest.MarkDecorator:
    ids = [f"{suite.name}-{row.id}" for suite, row in rows]
    return pytest.mark.parametrize(("suite", "row"), rows, ids=ids)


@cache
def cells_of(name: str) -> list[Cell]:
    return load_suite(name).cells()


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def weights(trial: Trial) -> int:
    task = trial.load_task()
    make = slot_maker(trial.load_baseline(), trial.settings)
    return count_parameters(fill_slots(task, Streams(trial.seed), trial.slots, make))


def skip_if_missing(suite: Suite) -> None:
    if suite.missing:
        pytest.skip(f"not installed: {', '.join(suite.missing)}")


def cell_of(suite: Suite, row: Row) -> Cell:
    """The one cell of a row of the paper; skips where its baseline is not installed."""
    found = [cell for cell in cells_of(suite.name) if cell.row == row]
    if not found:
        skip_if_missing(suite)
    assert len(found) == 1
    return found[0]

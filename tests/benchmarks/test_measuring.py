"""The goals of benchmarks: when they are met, missed by far, and measured once more."""

from __future__ import annotations

import measuring
import pytest
from measuring import Comparison, Growth, Target, table

GOAL = Target("ours", "ours", "theirs", (4.0, 2.0), 5.0, "of {ours:.0f} ms")


def test_a_row_has_the_ratio_and_the_times_in_its_reason(monkeypatch):
    samples = {"ours": [0.01, 0.02, 0.01], "theirs": [0.03, 0.06, 0.03]}
    monkeypatch.setattr(measuring, "WIDE", False)
    row = GOAL.row(samples)
    assert (row["ratio"], row["reach"], row["limit"]) == (pytest.approx(3), 2.0, "of 10 ms")
    assert not GOAL.lost(row)
    monkeypatch.setattr(measuring, "WIDE", True)
    assert GOAL.row(samples)["reach"] == 4.0


@pytest.mark.parametrize(("ratio", "lost"), [(0.99, True), (1.01, False), (3.0, False)])
def test_lost_is_half_of_what_is_asked(monkeypatch, ratio, lost):
    monkeypatch.setattr(measuring, "WIDE", False)
    assert GOAL.lost(GOAL.row({"ours": [1.0], "theirs": [ratio]})) == lost


def test_growth_is_an_exponent():
    goal = Growth("growth", 1.25, 1.1, 1.6)
    row = goal.row({"10": [1.0, 2.0], "100": [10.0, 20.0], "1000": [100.0, 200.0]})
    assert row["ratio"] == pytest.approx(1)
    assert row["peer"] is None
    assert not goal.lost(row)
    assert goal.lost(goal.row({"10": [1.0], "100": [100.0]}))


def compared(monkeypatch, ratios):
    """A comparison whose measurements give ``ratios``, one after the other."""
    left = iter(ratios)
    monkeypatch.setattr(measuring, "WIDE", False)
    monkeypatch.setattr(
        measuring, "turns", lambda ways, count: {"ours": [1.0], "theirs": [next(left)]}
    )
    ways = {"ours": lambda: None, "theirs": lambda: None}
    return Comparison("group", {}, ways, [GOAL]), left


def test_what_is_far_off_is_measured_once_more(monkeypatch):
    comparison, left = compared(monkeypatch, [0.5, 3.0, 7.0])
    record = comparison.record()
    assert record["facts"]["targets"][0]["ratio"] == 3.0
    assert not comparison.lost(record)
    assert next(left) == 7.0


def test_what_stays_far_off_fails(monkeypatch):
    comparison, _ = compared(monkeypatch, [0.5, 0.6])
    assert comparison.lost(comparison.record()) == ["ours (theirs): 0.60, where 2.0 is wanted"]


def test_the_table_names_what_is_below(monkeypatch):
    comparison, _ = compared(monkeypatch, [1.5])
    lines = []
    table([comparison.record()], lines.append)
    assert lines[1].endswith("below: of 1000 ms")
    assert lines[-1] == "group, ms: ours 1000, theirs 1500"

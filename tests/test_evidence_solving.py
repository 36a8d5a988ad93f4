"""Curves of generated tasks, and the outcomes of their seeds."""

from __future__ import annotations

import numpy as np
import pytest

from slt_bench import evidence as ev


def test_interquartile_mean() -> None:
    assert ev.interquartile_mean([0, 98, 1, 99, 97, 100, 96, 2]) == (2 + 96 + 97 + 98) / 4
    assert ev.interquartile_mean([0, 10, 50]) == 20  # nothing left out below four
    values = np.random.default_rng(0).normal(size=11)
    assert ev.interquartile_mean(list(values)) == pytest.approx(np.sort(values)[2:-2].mean())


def test_settled_is_the_median_of_the_last_five() -> None:
    curve = [(1000 * i, value) for i, value in enumerate([100.0, 100, 90, 99, 20, 96, 95])]
    assert ev.settled(curve) == 95
    assert ev.settled(curve[::-1]) == 95  # order is that of the updates
    assert ev.solved(curve)
    assert not ev.solved(curve, threshold=95.1)
    assert ev.settled([(1, 10.0), (2, 30.0)]) == 20  # shorter: all there is
    with pytest.raises(ValueError, match="curve"):
        ev.settled([])


def test_updates_to_solve_is_the_first_evaluation_at_the_threshold() -> None:
    curve = [(2000, 95.0), (1000, 94.9), (3000, 40.0)]
    assert ev.updates_to_solve(curve) == 2000
    assert ev.updates_to_solve(curve, threshold=96) is None


def test_solved_count() -> None:
    assert ev.solved_count([95, 94.99, 100, 10]) == (2, 4)

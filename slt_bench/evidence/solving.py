"""Generated tasks, which a trial either solves or does not: curves and bimodal outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from slt_bench.evidence.intervals import finite

#: Pairs (update, value).
Curve = Sequence[tuple[int, float]]

SOLVED = 95.0  # accuracy in percent from which a generated task counts as solved


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half: floor(n / 4) values are left out at each end.

    Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
    Below four values nothing is left out.
    """
    return float(stats.trim_mean(finite(values), 0.25))


def settled(curve: Curve) -> float:
    """Median of the last five validation evaluations of ``curve``, pairs (update, value).

    A curve of fewer than five evaluations gives the median of all it has.
    """
    last = sorted(curve)[-5:]
    return float(np.median(finite([value for _, value in last], "curve")))


def solved(curve: Curve, threshold: float = SOLVED) -> bool:
    """Whether the settled accuracy of ``curve`` is at or above ``threshold`` (percent)."""
    return settled(curve) >= threshold


def updates_to_solve(curve: Curve, threshold: float = SOLVED) -> int | None:
    """Update of the first evaluation at or above ``threshold`` (percent), or None."""
    return next((update for update, value in sorted(curve) if value >= threshold), None)


def solved_count(values: Sequence[float], threshold: float = SOLVED) -> tuple[int, int]:
    """(k, n): how many of the settled accuracies are at or above ``threshold`` (percent)."""
    array = finite(values)
    return int((array >= threshold).sum()), len(array)

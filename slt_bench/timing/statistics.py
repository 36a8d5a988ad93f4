"""What samples of time may claim. Pure functions, no I/O.

The spread between processes is far larger than within one, so a round of fresh processes is the
unit: every statistic here is over rounds. A time is a number of seconds, a ratio is time over
time of dense, so that below 1 is faster. Intervals are two-sided at 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Literal

import numpy as np
from scipy import stats

from slt_bench.evidence import holm, mean_interval

#: A difference below this factor is no difference, whatever its interval.
MARGIN = 1.05
#: Rounds from which a verdict is given.
ROUNDS_FOR_VERDICT = 10
LEVEL = 0.05

Verdict = Literal["faster", "slower", "same"]
ChangeName = Literal["better", "worse", "same", "ambiguous"]


def spread(values: Sequence[float]) -> float:
    """Interquartile range over median."""
    low, middle, high = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75])
    return float((high - low) / middle)


@dataclass(frozen=True)
class Times:
    """Over rounds, of the median of each process (seconds)."""

    lowest: float
    median: float
    highest: float
    n: int


def times(medians: Sequence[float]) -> Times:
    array = np.asarray(medians, dtype=np.float64)
    return Times(float(array.min()), float(np.median(array)), float(array.max()), len(array))


# Ratios to dense -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """Geometric mean of paired ratios, and the t-interval of their logarithms.

    ``p_value`` is of the two-sided t-test that the mean logarithm is 0; one round has neither
    interval nor p-value. ``spread`` is the interquartile range of the ratios over their median.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    spread: float
    n: int


def ratio(own: Sequence[float], dense: Sequence[float]) -> Ratio:
    """``own`` over ``dense``, paired round by round.

    Raises ValueError where the two differ in length, are empty or are not positive.
    """
    if len(own) != len(dense):
        raise ValueError(f"{len(own)} rounds against {len(dense)}: the ratios are paired")
    if any(value <= 0 for value in (*own, *dense)):
        raise ValueError("times must be positive")
    ratios = [a / b for a, b in zip(own, dense, strict=True)]
    interval = mean_interval([log(value) for value in ratios])
    low, high = interval.low, interval.high
    return Ratio(
        mean=exp(interval.mean),
        low=None if low is None else exp(low),
        high=None if high is None else exp(high),
        p_value=_p_value(interval.mean, interval.sd, interval.n),
        spread=spread(ratios),
        n=interval.n,
    )


def _p_value(mean: float, sd: float | None, n: int) -> float | None:
    if sd is None:
        return None
    if sd == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) * sqrt(n) / sd, n - 1))


def verdicts(ratios: Sequence[Ratio]) -> list[Verdict]:
    """Faster, slower or same than dense, for the rows of one table.

    A row is faster or slower from ROUNDS_FOR_VERDICT rounds on, where its ratio is beyond MARGIN
    and its p-value, by Holm over all rows, is below LEVEL; otherwise it is the same.
    """
    if not ratios:
        return []
    adjusted = holm([1.0 if r.p_value is None else r.p_value for r in ratios])
    found: list[Verdict] = []
    for one, p in zip(ratios, adjusted, strict=True):
        beyond = one.mean > MARGIN or one.mean < 1 / MARGIN
        if one.n < ROUNDS_FOR_VERDICT or p > LEVEL or not beyond:
            found.append("same")
        else:
            found.append("slower" if one.mean > 1 else "faster")
    return found


# Two measurements of one thing -----------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """``after`` over ``before``: above 1 is slower."""

    name: ChangeName
    ratio: float
    low: float | None
    high: float | None
    p_value: float


def changes(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[Change]:
    """Better, worse, same or ambiguous, for each pair (before, after) of one comparison.

    The values are ratios to dense, one a round, so that a machine which became slower as a whole
    changes nothing. Two sessions differ by more than chance: a change counts only where it lies
    beyond MARGIN beyond doubt. The p-value is of Welch's one-sided t-test of the difference of
    mean logarithms against log MARGIN, and Holm's correction is over all pairs. ``same`` is an
    interval of the change that lies within MARGIN; whatever is neither is ambiguous.
    """
    tested = [_welch(before, after) for before, after in pairs]
    adjusted = holm([p for *_, p in tested]) if tested else []
    return [
        Change(_change_name(mean, low, high, p), exp(mean), _exp(low), _exp(high), p)
        for (mean, low, high, _), p in zip(tested, adjusted, strict=True)
    ]


def _change_name(mean: float, low: float | None, high: float | None, p: float) -> ChangeName:
    if p <= LEVEL:
        return "worse" if mean > 0 else "better"
    margin = log(MARGIN)
    if low is not None and high is not None and -margin <= low and high <= margin:
        return "same"
    return "ambiguous"


def _welch(
    before: Sequence[float], after: Sequence[float]
) -> tuple[float, float | None, float | None, float]:
    """Difference of mean logarithms, its interval, and the p-value of a change beyond MARGIN."""
    a, b = (np.log(np.asarray(values, dtype=np.float64)) for values in (before, after))
    mean = float(b.mean() - a.mean())
    if min(len(a), len(b)) < 2:
        return mean, None, None, 1.0
    v_a, v_b = (float(x.var(ddof=1)) / len(x) for x in (a, b))
    error = sqrt(v_a + v_b)
    past = abs(mean) - log(MARGIN)
    if error == 0:
        return mean, mean, mean, 0.0 if past > 0 else 1.0
    freedom = (v_a + v_b) ** 2 / (v_a**2 / (len(a) - 1) + v_b**2 / (len(b) - 1))
    half = float(stats.t.ppf(0.975, freedom)) * error
    return mean, mean - half, mean + half, float(stats.t.sf(past / error, freedom))


def _exp(value: float | None) -> float | None:
    return None if value is None else exp(value)


# Growth with size ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exponent:
    """k of a law c n^k, with its interval; ``n`` sizes were fitted."""

    value: float
    low: float | None
    high: float | None
    n: int


def exponent(sizes: Sequence[int], values: Sequence[float]) -> Exponent | None:
    """The slope of log value against log size by least squares; None below two sizes.

    The interval is the t-interval of the slope with n - 2 degrees of freedom, so it takes in how
    far the points are from a straight line; two sizes have none.
    """
    if len(set(sizes)) < 2:
        return None
    fit = stats.linregress(np.log(sizes), np.log(values))
    slope, n = float(fit.slope), len(sizes)
    if n < 3:
        return Exponent(slope, None, None, n)
    half = float(stats.t.ppf(0.975, n - 2) * fit.stderr)
    return Exponent(slope, slope - half, slope + half, n)


def crossover(sizes: Sequence[int], own: Sequence[float], dense: Sequence[float]) -> float | None:
    """The size from which ``own`` stays below ``dense``, up to the largest size that was timed.

    ``own`` and ``dense`` are times at ``sizes`` (in any order). Between the two sizes where the
    order changes for the last time, log(own / dense) is taken as linear in log size. None where
    there is no such change: ``own`` is below at every size, or not below at the largest.

    Raises ValueError where the three differ in length, a size comes twice or a value is not
    positive.
    """
    points = sorted(zip(sizes, own, dense, strict=True))
    if len({size for size, *_ in points}) < len(points):
        raise ValueError("a size comes twice")
    if any(value <= 0 for point in points for value in point):
        raise ValueError("sizes and times must be positive")
    gaps = [(log(size), log(a / b)) for size, a, b in points]
    not_below = [index for index, (_, gap) in enumerate(gaps) if gap >= 0]
    if not not_below or not_below[-1] == len(gaps) - 1:
        return None
    (x, gap), (next_x, next_gap) = gaps[not_below[-1] : not_below[-1] + 2]
    return exp(x + gap / (gap - next_gap) * (next_x - x))

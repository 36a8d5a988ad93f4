"""Statistics of a comparison: what the numbers of a table may claim. Pure functions, no I/O.

``PerSeed`` is ``{seed: value}`` of one row of a table. Intervals are two-sided at 95 %. Accuracies
and their thresholds are in percent. A difference is signed so that positive is better. Values must
be finite: a diverged seed has no value, so the caller leaves it out and shows ``2/3``.
The results are frozen dataclasses of plain numbers: ``dataclasses.asdict`` gives their JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

PerSeed = Mapping[int, float]
Curve = Sequence[tuple[int, float]]
Alternative = Literal["greater", "less", "two-sided"]
VerdictName = Literal[
    "reproduced", "better", "worse", "inconclusive", "not comparable", "partial", "not run"
]

SOLVED = 95.0  # accuracy in percent from which a generated task counts as solved
REMOVAL_IS_NO_WORSE = "removal is no worse"
GAP_UNRESOLVED = "gap unresolved"
ONE_SEED = "one seed: no interval"
SEEDS_DISAGREE = "seeds disagree"
CLASS_NAMES = ("stuck", "learning", "solved")


def _array(values: Sequence[float], what: str = "values") -> NDArray[np.float64]:
    """``values`` as float64, refused where there are none or one is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{what} must be a list of at least one number, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite: leave diverged seeds out and count them apart")
    return array


def _quantile(n: int) -> float:
    """t(n - 1, 0.975): the factor of a two-sided 95 % interval from ``n`` values."""
    return float(stats.t.ppf(0.975, n - 1))


# Means and differences -----------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A mean with its t-interval ``mean ± half_width``; one value has neither sd nor interval."""

    mean: float
    sd: float | None
    half_width: float | None
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's interval of a mean: ``m ± t(n-1, 0.975) s / sqrt n``, s with n - 1 below.

    Raises ValueError where there is no value, or one is not finite.
    """
    array = _array(values)
    n, mean = len(array), float(array.mean())
    if n == 1:
        return Interval(mean, None, None, None, None, 1)
    sd = float(array.std(ddof=1))
    half = _quantile(n) * sd / sqrt(n)
    return Interval(mean, sd, half, mean - half, mean + half, n)


@dataclass(frozen=True)
class PairedDifference:
    """Differences of two rows seed by seed, and the t-interval of their mean."""

    seeds: tuple[int, ...]
    values: tuple[float, ...]
    interval: Interval


def paired_difference(a: PerSeed, b: PerSeed, *, higher_is_better: bool = True) -> PairedDifference:
    """How much better ``a`` is than ``b`` at the seeds that both have.

    The differences are a - b where higher is better, b - a where lower is.
    Raises ValueError where the two have no seed in common.
    """
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise ValueError("no seed in common: run both baselines at the same seeds")
    sign = 1.0 if higher_is_better else -1.0
    values = [sign * (float(a[seed]) - float(b[seed])) for seed in seeds]
    return PairedDifference(tuple(seeds), tuple(values), mean_interval(values))


# Recovered from the floor --------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """What a row recovers of the gap between floor and dense: 0 is the floor, 1 is dense.

    ``value`` is None where there is no ratio; ``reason`` then says why. With one seed the value
    stands, ``low`` and ``high`` are None, and ``reason`` says so. ``gap`` (positive: dense is
    better) is kept with its interval. ``method`` is "paired" or "independent", and ``n`` the
    number of pairs or the size of the smallest group.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    n: int
    method: Literal["paired", "independent"]


def recovered(
    x: PerSeed,
    floor: PerSeed,
    dense: PerSeed,
    *,
    higher_is_better: bool = True,
    paired: bool = True,
) -> Ratio:
    """R = (x - floor) / (dense - floor), a ratio of means, with Fieller's interval.

    Fieller (1954), "Some problems in interval estimation": with A = mean(x - floor), B =
    mean(dense - floor) and the covariance V of (A, B), the interval holds each R for which
    ``(A - R B)^2 <= t^2 (V_AA - 2 R V_AB + R^2 V_BB)``. It is bounded exactly where the interval
    of the gap B, ``B ± t sqrt V_BB``, leaves out 0. Where it does not there is no ratio.

    * Paired: over the seeds that all three share, V is the sample covariance of the pairs
      (x - floor, dense - floor) over n, with t(n-1, 0.975).
    * Independent (``paired=False``, or too few seeds in common): the rows' means, and V_AA =
      s_x^2/n_x + s_f^2/n_f, V_BB = s_d^2/n_d + s_f^2/n_f, V_AB = s_f^2/n_f, because both A and B
      hold the same floor. t has the degrees of freedom of the smallest group, the cautious
      choice where variances differ.

    Rows are paired where all three share two seeds, or a row has one seed only and it is shared.
    A gap of 0 or below, whatever its interval, reads "removal is no worse".
    """
    groups = {"x": x, "floor": floor, "dense": dense}
    common = sorted(x.keys() & floor.keys() & dense.keys())
    smallest = min(map(len, groups.values()))
    paired = paired and len(common) >= min(2, smallest)
    method: Literal["paired", "independent"] = "paired" if paired else "independent"
    n = len(common) if paired else smallest
    if missing := [name for name, row in groups.items() if not row]:
        reason = f"no seeds: {', '.join(missing)}"
        return Ratio(None, None, None, reason, None, None, None, 0, method)

    xs, fs, ds = (
        _array([row[seed] for seed in (common if paired else sorted(row))], name)
        for name, row in groups.items()
    )
    # The ratio is the same for a metric and its negative; only the sign of the gap needs a side.
    sign = 1.0 if higher_is_better else -1.0
    # Means of differences, not differences of means: no digits are lost to a common offset.
    a = sign * float((xs - fs).mean() if paired else xs.mean() - fs.mean())
    b = sign * float((ds - fs).mean() if paired else ds.mean() - fs.mean())
    if n == 1:
        if b <= 0:
            return Ratio(None, None, None, REMOVAL_IS_NO_WORSE, b, None, None, n, method)
        return Ratio(a / b, None, None, ONE_SEED, b, None, None, n, method)

    if paired:
        (v_aa, v_ab), (_, v_bb) = np.cov(xs - fs, ds - fs) / n
    else:
        v_x, v_f, v_d = (group.var(ddof=1) / len(group) for group in (xs, fs, ds))
        v_aa, v_ab, v_bb = v_x + v_f, v_f, v_d + v_f
    t = _quantile(n)
    gap = (b, b - t * sqrt(v_bb), b + t * sqrt(v_bb))
    if b <= 0:
        return Ratio(None, None, None, REMOVAL_IS_NO_WORSE, *gap, n, method)
    if gap[1] <= 0:
        return Ratio(None, None, None, GAP_UNRESOLVED, *gap, n, method)
    low, high = _fieller(a / b, v_aa / b**2, v_ab / b**2, v_bb / b**2, t)
    return Ratio(a / b, low, high, None, *gap, n, method)


def _fieller(r: float, v_aa: float, v_ab: float, v_bb: float, t: float) -> tuple[float, float]:
    """Roots of Fieller's quadratic for the ratio r; variances are over B^2 and t^2 v_bb < 1."""
    rest = 1 - t**2 * v_bb
    spread = v_aa - 2 * r * v_ab + r**2 * v_bb - t**2 * (v_aa * v_bb - v_ab**2)
    centre = (r - t**2 * v_ab) / rest
    half = t * sqrt(max(spread, 0.0)) / rest  # at least 0 but for rounding
    return float(centre - half), float(centre + half)


# Generated tasks: curves and bimodal outcomes ------------------------------------------------


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half: floor(n / 4) values are left out at each end.

    Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
    Below four values nothing is left out.
    """
    return float(stats.trim_mean(_array(values), 0.25))


def settled(curve: Curve) -> float:
    """Median of the last five validation evaluations of ``curve``, pairs (update, value).

    A curve of fewer than five evaluations gives the median of all it has.
    """
    last = sorted(curve)[-5:]
    return float(np.median(_array([value for _, value in last], "curve")))


def solved(curve: Curve, threshold: float = SOLVED) -> bool:
    """Whether the settled accuracy of ``curve`` is at or above ``threshold`` (percent)."""
    return settled(curve) >= threshold


def updates_to_solve(curve: Curve, threshold: float = SOLVED) -> int | None:
    """Update of the first evaluation at or above ``threshold`` (percent), or None."""
    return next((update for update, value in sorted(curve) if value >= threshold), None)


def solved_count(values: Sequence[float], threshold: float = SOLVED) -> tuple[int, int]:
    """(k, n): how many of the settled accuracies are at or above ``threshold`` (percent)."""
    array = _array(values)
    return int((array >= threshold).sum()), len(array)


# Verdict on a published number ---------------------------------------------------------------


@dataclass(frozen=True)
class Classes:
    """Outcome classes of a bimodal task, by accuracy in percent: stuck < learning < solved."""

    chance: float
    solved: float = SOLVED
    stuck_within: float = 10.0

    def __post_init__(self) -> None:
        if self.chance + self.stuck_within >= self.solved:
            raise ValueError(
                f"stuck reaches up to {self.chance + self.stuck_within:g} %, which is not below "
                f"solved at {self.solved:g} %: lower chance or stuck_within"
            )

    def rank(self, accuracy: float) -> int:
        """0 stuck (at most ``stuck_within`` points above chance), 1 learning, 2 solved."""
        return int(accuracy > self.chance + self.stuck_within) + int(accuracy >= self.solved)

    def name(self, accuracy: float) -> str:
        """The class of ``accuracy`` in words."""
        return CLASS_NAMES[self.rank(accuracy)]


@dataclass(frozen=True)
class Verdict:
    """A measured row held against its published number.

    ``difference`` is D, ``half_width`` c (interval of the mean), ``prediction_half_width`` h
    (prediction of one more run). What cannot be had from ``n`` seeds is None.
    """

    name: VerdictName
    reason: str
    published: float
    margin: float
    difference: float | None
    half_width: float | None
    prediction_half_width: float | None
    mean: float | None
    sd: float | None
    n: int


def verdict(
    published: float,
    values: Sequence[float],
    margin: float,
    *,
    higher_is_better: bool,
    classes: Classes | None = None,
    not_comparable: str | None = None,
    partial: str | None = None,
    not_run: str | None = None,
) -> Verdict:
    """Judge the values of the seeds against a published number, which is one run.

    With mean m, standard deviation s, n seeds, published x: D = m - x (positive: better than
    published), c = t(n-1, 0.975) s / sqrt n, and h = c sqrt(n + 1), the half width of the
    interval that predicts one more run. The first line that holds is the verdict:

    * not run: ``values`` is empty (``not_run`` says what it would cost);
    * not comparable: ``not_comparable`` says what else the published number measures;
    * partial: ``partial`` says how much shorter the training was;
    * inconclusive: fewer than three seeds;
    * reproduced: [D - c, D + c] lies inside ± margin;
    * better, worse: [D - h, D + h] lies on one side of 0 and abs(D) > margin;
    * inconclusive: otherwise.

    With ``classes`` (a bimodal task, where a mean describes no run) the last three go by classes
    in place of intervals: at least three quarters of the seeds, which is all of three, in the
    class of ``published`` for reproduced, in higher or lower ones for better or worse, else
    inconclusive ("seeds disagree").

    Raises ValueError where the margin is not positive, a number is not finite, or ``classes`` is
    given for a metric where lower is better.
    """
    if not isfinite(published):
        raise ValueError(f"the published number must be finite, got {published}")
    if not (isfinite(margin) and margin > 0):
        raise ValueError(f"the margin must be a positive number, got {margin}")
    if classes is not None and not higher_is_better:
        raise ValueError("classes are of accuracies: higher must be better")
    if len(values) == 0:
        reason = not_run or "no trial of this row has finished"
        return Verdict("not run", reason, published, margin, None, None, None, None, None, 0)

    interval = mean_interval(values)
    n, c = interval.n, interval.half_width
    difference = (interval.mean - published) * (1 if higher_is_better else -1)
    h = None if c is None else c * sqrt(n + 1)

    name: VerdictName
    if not_comparable:
        name, reason = "not comparable", "; ".join(filter(None, (not_comparable, partial)))
    elif partial:
        name, reason = "partial", partial
    elif n < 3 or c is None or h is None:
        name, reason = "inconclusive", f"{n} of at least 3 seeds"
    elif classes is not None:
        name, reason = _by_class(published, values, classes)
    else:
        name, reason = _by_interval(difference, c, h, margin)
    return Verdict(name, reason, published, margin, difference, c, h, interval.mean, interval.sd, n)


def _by_interval(difference: float, c: float, h: float, margin: float) -> tuple[VerdictName, str]:
    edge = margin * (1 + 1e-9)  # 1.05 - 0.85 is not exactly 0.2: rounding decides no verdict
    if abs(difference) + c <= edge:
        return "reproduced", "the interval of the difference lies within the margin"
    if abs(difference) <= edge:
        return "inconclusive", "seeds vary too much: the interval reaches past the margin"
    if abs(difference) <= h:
        return "inconclusive", "seeds vary too much: one more run may give the published number"
    name: VerdictName = "better" if difference > 0 else "worse"
    return name, "past the margin, and past what one more run may give"


def _by_class(
    published: float, values: Sequence[float], classes: Classes
) -> tuple[VerdictName, str]:
    target, n = classes.rank(published), len(values)
    ranks = [classes.rank(value) for value in values]
    outcomes: list[tuple[VerdictName, int]] = [
        ("reproduced", sum(rank == target for rank in ranks)),
        ("better", sum(rank > target for rank in ranks)),
        ("worse", sum(rank < target for rank in ranks)),
    ]
    names = [classes.name(value) for value in values]
    counts = ", ".join(f"{k}/{n} {name}" for name in CLASS_NAMES if (k := names.count(name)))
    against = f"{counts}; published {classes.name(published)}"
    for outcome, count in outcomes:
        if 4 * count >= 3 * n:
            return outcome, against
    return "inconclusive", f"{SEEDS_DISAGREE}: {against}"


# Tests of the primary contrasts --------------------------------------------------------------


@dataclass(frozen=True)
class Significance:
    """Outcome of one test: its p-value, the statistic it judged, how many values it used."""

    p_value: float
    statistic: float
    n: int
    alternative: Alternative


def sign_flip_test(
    differences: Sequence[float], alternative: Alternative = "greater", *, margin: float = 0.0
) -> Significance:
    """Exact sign-flip permutation test of the mean of paired differences.

    Under the null the sign of each difference is a fair coin; the p-value is the share of the
    2^n sign patterns whose mean is at least as extreme, so n seeds reach 2^-n one-sided.
    ``margin`` is added to each difference: "no worse than" is "greater" with the margin allowed.

    Raises ValueError for one difference, for more than 20 (all patterns are then too many), or
    for a margin below 0.
    """
    if not (isfinite(margin) and margin >= 0):
        raise ValueError(f"the margin must be 0 or a positive number, got {margin}")
    array = _array(differences, "differences") + margin
    n = len(array)
    if not 2 <= n <= 20:
        raise ValueError(f"the exact test takes 2 to 20 differences, got {n}")
    result: Any = stats.permutation_test(
        (array,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
        batch=1 << 16,
        alternative=alternative,
    )
    return Significance(float(result.pvalue), float(result.statistic), n, alternative)


def discordant_binomial(
    a: Mapping[int, bool], b: Mapping[int, bool], alternative: Alternative = "greater"
) -> Significance:
    """Binomial test of "a solves where b does not" on the seeds where just one of them solves.

    ``a`` and ``b`` are ``{seed: solved}``. Of the n discordant common seeds k are a's; under the
    null k is Binomial(n, 1/2) (McNemar's exact test). No discordant seed gives p = 1.
    ``statistic`` is k. Raises ValueError where the two have no seed in common.
    """
    common = a.keys() & b.keys()
    if not common:
        raise ValueError("no seed in common: run both baselines at the same seeds")
    k = sum(bool(a[seed]) and not b[seed] for seed in common)
    n = k + sum(bool(b[seed]) and not a[seed] for seed in common)
    p = float(stats.binomtest(k, n, 0.5, alternative=alternative).pvalue) if n else 1.0
    return Significance(p, float(k), n, alternative)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: reject where one is at or below the level.

    Holm (1979), "A simple sequentially rejective multiple test procedure": with p_(1) <= ... <=
    p_(m), the adjusted p_(i) is the largest of min(1, (m - j + 1) p_(j)) over j <= i. (scipy has
    no family-wise correction.) Raises ValueError for a p-value outside 0 to 1.
    """
    p = _array(p_values, "p-values")
    if ((p < 0) | (p > 1)).any():
        raise ValueError("p-values must lie in 0 to 1")
    order = np.argsort(p)
    steps = np.arange(len(p), 0, -1) * p[order]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]

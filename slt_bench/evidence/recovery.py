"""What a row recovers of the gap between the floor and dense, with Fieller's interval."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from slt_bench.evidence.intervals import PerSeed, finite, quantile

REMOVAL_IS_NO_WORSE = "removal is no worse"
GAP_UNRESOLVED = "gap unresolved"
ONE_SEED = "one seed: no interval"


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
        finite([row[seed] for seed in (common if paired else sorted(row))], name)
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
    t = quantile(n)
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

"""Tests of the primary contrasts, and the correction over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np
from scipy import stats

from slt_bench.evidence.intervals import finite

Alternative = Literal["greater", "less", "two-sided"]


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
    array = finite(differences, "differences") + margin
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
    p = finite(p_values, "p-values")
    if ((p < 0) | (p > 1)).any():
        raise ValueError("p-values must lie in 0 to 1")
    order = np.argsort(p)
    steps = np.arange(len(p), 0, -1) * p[order]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]

"""Means over seeds, and differences seed by seed, with Student's interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

PerSeed = Mapping[int, float]


def finite(values: Sequence[float], what: str = "values") -> NDArray[np.float64]:
    """``values`` as float64, refused where there are none or one is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{what} must be a list of at least one number, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite: leave diverged seeds out and count them apart")
    return array


def quantile(n: int) -> float:
    """t(n - 1, 0.975): the factor of a two-sided 95 % interval from ``n`` values."""
    return float(stats.t.ppf(0.975, n - 1))


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
    array = finite(values)
    n, mean = len(array), float(array.mean())
    if n == 1:
        return Interval(mean, None, None, None, None, 1)
    sd = float(array.std(ddof=1))
    half = quantile(n) * sd / sqrt(n)
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

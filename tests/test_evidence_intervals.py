"""Means and paired differences, against hand-worked cases and scipy."""

from __future__ import annotations

from math import sqrt

import pytest
from scipy import stats

from slt_bench import evidence as ev


def test_mean_interval_by_hand() -> None:
    # 9, 10, 11: s = 1, t(2, 0.975) = 4.30265 from a printed table
    got = ev.mean_interval([9, 10, 11])
    assert (got.mean, got.sd, got.n) == (10, 1, 3)
    assert got.half_width == pytest.approx(4.30265 / sqrt(3), rel=1e-5)
    assert (got.low, got.high) == pytest.approx((10 - 2.48414, 10 + 2.48414), rel=1e-5)


def test_one_value_has_no_interval() -> None:
    assert ev.mean_interval([3.5]) == ev.Interval(3.5, None, None, None, None, 1)


def test_paired_difference_uses_the_common_seeds_and_the_direction() -> None:
    a = {0: 50.0, 1: 12.0, 2: 15.0, 3: 19.0}
    b = {1: 10.0, 2: 12.0, 3: 15.0, 4: 99.0}
    got = ev.paired_difference(a, b)
    assert (got.seeds, got.values) == ((1, 2, 3), (2, 3, 4))
    expected = stats.ttest_1samp([2, 3, 4], 0).confidence_interval()
    assert (got.interval.low, got.interval.high) == pytest.approx(tuple(expected))
    assert ev.paired_difference(a, b, higher_is_better=False).values == (-2, -3, -4)
    with pytest.raises(ValueError, match="no seed in common"):
        ev.paired_difference({0: 1.0}, {1: 1.0})

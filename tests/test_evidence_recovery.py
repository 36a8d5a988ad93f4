"""What is recovered: Fieller's interval by hand, by an inverted test, and by simulation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, stats

from slt_bench import evidence as ev
from slt_bench.evidence import PerSeed

Rows = tuple[dict[int, float], dict[int, float], dict[int, float]]


def by_seed(values: NDArray[np.float64] | list[float], first: int = 0) -> dict[int, float]:
    return {first + i: float(v) for i, v in enumerate(values)}


def ends(ratio: ev.Ratio) -> tuple[float, float, float]:
    """(low, value, high) of a ratio that must have all three."""
    found = [v for v in (ratio.low, ratio.value, ratio.high) if v is not None]
    low, value, high = found
    return low, value, high


def rows(rng: np.random.Generator, n: int, noise: float = 1.0, common: float = 1.0) -> Rows:
    """Seeds that move all three rows together; true floor 0, dense 10, x 6."""
    shared = rng.normal(scale=common, size=n)
    x, floor, dense = (by_seed(m + shared + rng.normal(scale=noise, size=n)) for m in (6, 0, 10))
    return x, floor, dense


def null_statistic(r: float, x: PerSeed, floor: PerSeed, dense: PerSeed, paired: bool) -> float:
    """abs(t) of the null "recovered is r", by scipy; Fieller's ends are where it is critical."""
    xs, fs, ds = (np.array(list(row.values())) for row in (x, floor, dense))
    if paired:
        return abs(float(stats.ttest_1samp((xs - fs) - r * (ds - fs), 0).statistic))
    estimate = xs.mean() - r * ds.mean() - (1 - r) * fs.mean()
    parts = ((xs, 1.0), (ds, r), (fs, 1 - r))
    return abs(float(estimate / sqrt(sum((w * stats.sem(v)) ** 2 for v, w in parts))))


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n", [3, 8])
def test_fieller_inverts_the_t_test(paired: bool, n: int) -> None:
    critical = float(stats.t.ppf(0.975, n - 1))
    for trial in range(20):
        data = rows(np.random.default_rng(trial), n, noise=0.8, common=float(paired))
        low, value, high = ends(ev.recovered(*data, paired=paired))
        for end, beyond in ((low, low - 1), (high, high + 1)):

            def excess(r: float, data: Rows = data) -> float:
                return null_statistic(r, *data, paired) - critical

            assert end == pytest.approx(optimize.brentq(excess, value, beyond), abs=1e-8)


@pytest.mark.parametrize("paired", [True, False])
def test_fieller_covers_the_true_ratio(paired: bool) -> None:
    rng = np.random.default_rng(1)
    draws = 2000
    hits = 0
    for _ in range(draws):
        data = rows(rng, 8, common=float(paired))
        low, _, high = ends(ev.recovered(*data, paired=paired))
        hits += low <= 0.6 <= high
    slack = 4 * sqrt(0.95 * 0.05 / draws)
    assert hits / draws >= 0.95 - slack
    # Exact where paired; the smallest group's degrees of freedom are cautious, but not idle.
    assert hits / draws <= (0.95 + slack if paired else 0.99)


def test_fieller_tends_to_the_delta_method() -> None:
    n = 4000
    x, floor, dense = rows(np.random.default_rng(2), n)
    low, value, high = ends(ev.recovered(x, floor, dense))
    xs, fs, ds = (np.array(list(v.values())) for v in (x, floor, dense))
    residual = (xs - fs) - value * (ds - fs)
    half = 1.96 * residual.std(ddof=1) / sqrt(n) / (ds - fs).mean()
    assert (low, high) == pytest.approx((value - half, value + half), abs=1e-4)


def test_recovered_by_hand() -> None:
    # One pair of gaps: A = 6, 6, 6 and B = 9, 10, 11. V_AA = V_AB = 0, V_BB = 1/3, so
    # (6 - 10 R)^2 = t^2 R^2 / 3 and R = 6 / (10 +- 2.48414).
    floor = {0: 1.0, 1: 2.0, 2: 3.0}
    got = ev.recovered({0: 7.0, 1: 8.0, 2: 9.0}, floor, {0: 10.0, 1: 12.0, 2: 14.0})
    assert (got.value, got.gap, got.n, got.method, got.reason) == (0.6, 10, 3, "paired", None)
    assert (got.low, got.high) == pytest.approx((6 / 12.48414, 6 / 7.51586), rel=1e-6)


def test_no_ratio_where_removal_is_no_worse() -> None:
    low, high = by_seed([1, 1.1, 0.9]), by_seed([2, 2.1, 1.9])
    got = ev.recovered(low, floor=high, dense=low)
    assert (got.value, got.low, got.high) == (None, None, None)
    assert got.reason == ev.REMOVAL_IS_NO_WORSE
    assert got.gap == pytest.approx(-1)
    # The same numbers as an error: dense is now the better one.
    assert ev.recovered(low, high, low, higher_is_better=False).value == pytest.approx(1)
    # A gap below 0 whose interval holds 0 reads the same, and so does no gap at all.
    assert ev.recovered(low, by_seed([5, -5, 4]), low).reason == ev.REMOVAL_IS_NO_WORSE
    assert ev.recovered(high, low, low).reason == ev.REMOVAL_IS_NO_WORSE


def test_no_ratio_where_the_gap_is_unresolved() -> None:
    floor, dense = by_seed([0, 0, 0]), by_seed([1, 5, 0])
    got = ev.recovered(dense, floor, dense)
    assert (got.value, got.reason) == (None, ev.GAP_UNRESOLVED)
    interval = stats.ttest_1samp([1, 5, 0], 0).confidence_interval()
    assert (got.gap_low, got.gap_high) == pytest.approx(tuple(interval))
    assert interval.low < 0 < interval.high


def test_one_seed_gives_a_flagged_value_without_interval() -> None:
    got = ev.recovered({3: 4.0}, {3: 0.0}, {3: 8.0})
    assert (got.value, got.low, got.high, got.n) == (0.5, None, None, 1)
    assert got.reason == ev.ONE_SEED
    assert ev.recovered({3: 4.0}, {3: 8.0}, {3: 0.0}).reason == ev.REMOVAL_IS_NO_WORSE
    # Still one seed, and still no interval, where no seed is shared.
    got = ev.recovered({9: 4.0}, by_seed([0, 0]), by_seed([8, 8]))
    assert (got.value, got.reason, got.method) == (0.5, ev.ONE_SEED, "independent")


def test_missing_rows_are_named() -> None:
    got = ev.recovered({0: 1.0}, {}, {})
    assert (got.value, got.n, got.reason) == (None, 0, "no seeds: floor, dense")


def test_pairing_takes_the_common_seeds_and_else_the_means() -> None:
    x, floor, dense = rows(np.random.default_rng(3), 5)
    some = {seed: x[seed] for seed in (1, 2, 4)}
    got = ev.recovered({**some, 77: 1e6}, floor, dense)
    assert (got.method, got.n) == ("paired", 3)
    sub = [{s: row[s] for s in some} for row in (x, floor, dense)]
    assert got == ev.recovered(*sub)
    moved = ev.recovered(by_seed(list(x.values()), first=100), floor, dense)
    assert moved.method == "independent"
    assert moved == ev.recovered(x, floor, dense, paired=False)
    # One shared seed of many is no pairing; of a row's only seed it is.
    one = {**by_seed(list(x.values())[1:], first=100), 0: x[0]}
    assert ev.recovered(one, floor, dense).n == 5
    alone = ev.recovered({2: 4.0}, {1: 50.0, 2: 0.0}, {2: 8.0, 3: 9.0})
    assert (alone.value, alone.method, alone.n) == (0.5, "paired", 1)


def test_pairing_removes_what_the_seeds_share() -> None:
    x, floor, dense = rows(np.random.default_rng(4), 8, noise=0.1, common=2.0)
    together, apart = (ends(ev.recovered(x, floor, dense, paired=p)) for p in (True, False))
    assert together[2] - together[0] < 0.2 * (apart[2] - apart[0])


whole = st.integers(-50, 50).map(float)
triples = st.lists(st.tuples(whole, whole, whole), min_size=1, max_size=6)


@given(triples, st.integers(-4, 4), st.integers(-100, 100), st.booleans(), st.booleans())
def test_recovered_ignores_scale_and_shift(
    seeds: list[tuple[float, float, float]], power: int, shift: int, paired: bool, flip: bool
) -> None:
    x, floor, dense = (by_seed(list(row)) for row in zip(*seeds, strict=True))
    factor = -(2.0**power) if flip else 2.0**power  # exact in binary: no rounding at the edges
    moved = [{s: factor * v + shift for s, v in row.items()} for row in (x, floor, dense)]
    before = ev.recovered(x, floor, dense, paired=paired)
    after = ev.recovered(moved[0], moved[1], moved[2], paired=paired, higher_is_better=factor > 0)
    assert after.reason == before.reason
    for ours, theirs in ((before.value, after.value), (before.low, after.low)):
        assert theirs == (None if ours is None else pytest.approx(ours, rel=1e-6, abs=1e-6))
    assert after.gap == pytest.approx((before.gap or 0) * abs(factor), abs=1e-9)


@given(triples, st.booleans())
def test_dense_recovers_one_and_the_floor_nothing(
    seeds: list[tuple[float, float, float]], paired: bool
) -> None:
    _, floor, dense = (by_seed(list(row)) for row in zip(*seeds, strict=True))
    top, bottom = (ev.recovered(row, floor, dense, paired=paired) for row in (dense, floor))
    assert (top.value is None) == (bottom.value is None)
    if top.value is not None:
        assert (top.value, bottom.value) == pytest.approx((1, 0))
    if top.low is not None and paired:
        assert (top.low, top.high, bottom.low, bottom.high) == pytest.approx((1, 1, 0, 0), abs=1e-6)

"""evidence: each statistic against a hand-worked case, an inverted test, or a simulation."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import product
from math import sqrt
from typing import Any

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


# Means and differences -----------------------------------------------------------------------


def test_mean_interval_by_hand() -> None:
    # 9, 10, 11: s = 1, t(2, 0.975) = 4.30265 from a printed table
    got = ev.mean_interval([9, 10, 11])
    assert (got.mean, got.sd, got.n) == (10, 1, 3)
    assert got.half_width == pytest.approx(4.30265 / sqrt(3), rel=1e-5)
    assert (got.low, got.high) == pytest.approx((10 - 2.48414, 10 + 2.48414), rel=1e-5)


def test_one_value_has_no_interval() -> None:
    assert ev.mean_interval([3.5]) == ev.Interval(3.5, None, None, None, None, 1)


@pytest.mark.parametrize(("values", "says"), [([], "at least one"), ([1, np.nan], "finite")])
def test_values_that_are_no_numbers_are_refused(values: list[float], says: str) -> None:
    for function in (ev.mean_interval, ev.interquartile_mean, ev.solved_count, ev.holm):
        with pytest.raises(ValueError, match=says):
            function(values)


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


# Recovered from the floor --------------------------------------------------------------------


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


# Generated tasks -----------------------------------------------------------------------------


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


# Verdict -------------------------------------------------------------------------------------

SEEDS = [9.0, 10.0, 11.0]  # mean 10, s = 1, c = 2.48414, h = 2 c = 4.96828


@pytest.mark.parametrize(
    ("published", "margin", "name", "says"),
    [
        (10.0, 2.5, "reproduced", "within the margin"),
        (10.0, 2.4, "inconclusive", "past the margin"),
        (10.5, 3.0, "reproduced", "within the margin"),
        (10.6, 3.0, "inconclusive", "past the margin"),
        (6.0, 3.0, "inconclusive", "one more run"),
        (5.1, 3.0, "inconclusive", "one more run"),
        (5.0, 3.0, "better", "past the margin"),
        (15.0, 3.0, "worse", "past the margin"),
        (5.0, 5.5, "inconclusive", "past the margin"),  # beyond h, but not beyond the margin
    ],
)
@pytest.mark.parametrize("higher", [True, False])
def test_verdict_by_hand(
    published: float, margin: float, name: str, says: str, higher: bool
) -> None:
    got = ev.verdict(published, SEEDS, margin, higher_is_better=higher)
    swapped = {"better": "worse", "worse": "better"}
    assert got.name == (name if higher else swapped.get(name, name))
    assert says in got.reason
    assert got.difference == pytest.approx((10 - published) * (1 if higher else -1))
    assert got.half_width == pytest.approx(2.48414, rel=1e-5)
    assert got.prediction_half_width == pytest.approx(4.96828, rel=1e-5)
    assert (got.mean, got.sd, got.n) == (10, 1, 3)


def test_prediction_width_is_that_of_one_more_run() -> None:
    values = [1.0, 4.0, 6.0, 7.0, 9.0]
    got = ev.verdict(5.0, values, 1.0, higher_is_better=True)
    sem = np.std(values, ddof=1) * sqrt(1 + 1 / 5)  # textbook form of the prediction interval
    assert got.prediction_half_width == pytest.approx(stats.t.ppf(0.975, 4) * sem)


@pytest.mark.parametrize("classes", [None, ev.Classes(chance=10)])
@pytest.mark.parametrize("values", [[50.0], [50.0, 50.0]])
@pytest.mark.parametrize("published", [0.0, 50.0, 99.0])
def test_fewer_than_three_seeds_settle_nothing(
    values: list[float], published: float, classes: ev.Classes | None
) -> None:
    got = ev.verdict(published, values, 2.0, higher_is_better=True, classes=classes)
    assert got.name == "inconclusive"
    assert got.reason == f"{len(values)} of at least 3 seeds"
    assert (got.sd is None) == (got.half_width is None) == (len(values) == 1)


def test_rounding_decides_no_verdict() -> None:
    # All seeds alike, a difference of exactly the margin on paper, above and below it in binary.
    assert 1.05 - 0.85 > 0.2 > 0.85 - 0.65
    for measured, published in ((1.05, 0.85), (0.85, 0.65)):
        got = ev.verdict(published, [measured] * 3, 0.2, higher_is_better=False)
        assert got.name == "reproduced"


def test_named_reasons_stand_in_place_of_a_verdict() -> None:
    def name_and_reason(values: list[float], **reasons: str) -> tuple[str, str]:
        got = ev.verdict(10.0, values, 3.0, higher_is_better=True, **reasons)  # type: ignore[arg-type]
        assert got.n == len(values)
        assert (got.mean is None) == (not values)
        return got.name, got.reason

    other, short = "dropout left on at test", "a third of the updates"
    assert name_and_reason(SEEDS, not_comparable=other) == ("not comparable", other)
    assert name_and_reason(SEEDS, partial=short) == ("partial", short)
    both = name_and_reason(SEEDS, not_comparable=other, partial=short)
    assert both == ("not comparable", f"{other}; {short}")
    assert name_and_reason([1.0], partial=short) == ("partial", short)
    assert name_and_reason([], not_run="3 hours of a core") == ("not run", "3 hours of a core")
    assert name_and_reason([], partial=short)[0] == "not run"
    assert name_and_reason(SEEDS, not_run="3 hours of a core")[0] == "reproduced"  # it did run


def test_classes_cut_at_their_thresholds() -> None:
    classes = ev.Classes(chance=12.5)
    names = [classes.name(accuracy) for accuracy in (0, 12.5, 22.5, 22.6, 94.9, 95, 100)]
    assert names == ["stuck"] * 3 + ["learning"] * 2 + ["solved"] * 2
    with pytest.raises(ValueError, match="lower chance or stuck_within"):
        ev.Classes(chance=90)


STUCK, LEARNING, DONE = 11.0, 60.0, 98.0


@pytest.mark.parametrize(
    ("published", "values", "name"),
    [
        (DONE, [DONE] * 3, "reproduced"),
        (DONE, [DONE, DONE, LEARNING], "inconclusive"),  # of three, all
        (DONE, [DONE, DONE, DONE, STUCK], "reproduced"),  # of four, three quarters
        (DONE, [DONE, DONE, DONE, STUCK, STUCK], "inconclusive"),
        (DONE, [LEARNING, STUCK, STUCK], "worse"),  # lower classes count together
        (STUCK, [LEARNING, DONE, DONE, STUCK], "better"),
        (LEARNING, [STUCK, DONE, LEARNING], "inconclusive"),
        (LEARNING, [DONE] * 6 + [STUCK] * 2, "better"),
        (LEARNING, [30.0, 60.0, 94.0], "reproduced"),  # an interval could not tell
    ],
)
def test_bimodal_verdicts(published: float, values: list[float], name: str) -> None:
    classes = ev.Classes(chance=10)
    got = ev.verdict(published, values, 2.0, higher_is_better=True, classes=classes)
    assert got.name == name
    assert got.reason.startswith(ev.SEEDS_DISAGREE) == (name == "inconclusive")
    assert f"published {classes.name(published)}" in got.reason
    k = sum(value == DONE for value in values)
    assert (f"{k}/{len(values)} solved" in got.reason) == (k > 0)


def test_verdict_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="margin must be a positive"):
        ev.verdict(1.0, SEEDS, 0.0, higher_is_better=True)
    with pytest.raises(ValueError, match="published number must be finite"):
        ev.verdict(float("nan"), SEEDS, 1.0, higher_is_better=True)
    with pytest.raises(ValueError, match="higher must be better"):
        ev.verdict(1.0, SEEDS, 1.0, higher_is_better=False, classes=ev.Classes(chance=10))


@given(
    st.floats(-100, 100), st.lists(st.floats(-100, 100), min_size=3, max_size=6), st.floats(0.01, 9)
)
def test_verdict_is_symmetric_and_one_of_the_rule(
    published: float, values: list[float], margin: float
) -> None:
    got = ev.verdict(published, values, margin, higher_is_better=True)
    mirrored = ev.verdict(-published, [-v for v in values], margin, higher_is_better=False)
    assert (mirrored.name, mirrored.reason) == (got.name, got.reason)
    assert mirrored.difference == got.difference
    other = ev.verdict(published, values, margin, higher_is_better=False)
    swapped = {"better": "worse", "worse": "better"}
    assert other.name == swapped.get(got.name, got.name)
    distance = abs(float(np.mean(values)) - published)
    interval = stats.t.interval(0.95, len(values) - 1, 0, 1)[1] * stats.sem(values)
    if got.name in swapped:
        assert distance > max(margin, interval) * (1 - 1e-8)
    if got.name == "reproduced":
        assert distance + interval <= margin * (1 + 1e-8)


# Tests of the contrasts ----------------------------------------------------------------------


def test_eight_seeds_reach_one_in_256() -> None:
    got = ev.sign_flip_test([0.3, 1.2, 0.1, 2.0, 0.7, 0.9, 1.1, 0.4])
    assert (got.p_value, got.n) == (1 / 256, 8)
    assert got.p_value < 0.05 / 6
    assert ev.sign_flip_test([-1.0] * 8, "less").p_value == 1 / 256
    assert ev.sign_flip_test([1.0] * 8, "two-sided").p_value == 2 / 256
    assert ev.sign_flip_test([-1.0] * 8).p_value == 1


def test_sign_flip_is_the_share_of_patterns() -> None:
    differences = np.array([3.0, -1.0, 2.0, 0.5, -0.25])
    patterns = np.array(list(product([1, -1], repeat=5))) @ differences
    expected = (patterns >= differences.sum()).mean()
    assert 1 / 32 < expected < 0.5
    assert ev.sign_flip_test(list(differences)).p_value == expected


def test_margin_turns_beats_into_no_worse() -> None:
    differences = [-0.1, 0.05, -0.15, 0.1, 0.0, -0.05, 0.02, -0.1]
    assert ev.sign_flip_test(differences).p_value > 0.5
    assert ev.sign_flip_test(differences, margin=0.2).p_value == 1 / 256


@pytest.mark.parametrize(
    ("differences", "margin", "says"),
    [([1.0], 0.0, "2 to 20"), ([1.0] * 21, 0.0, "2 to 20"), ([1.0, 2.0], -1.0, "margin")],
)
def test_sign_flip_refuses(differences: list[float], margin: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ev.sign_flip_test(differences, margin=margin)


def test_discordant_binomial_counts_the_pairs_that_differ() -> None:
    a = {0: True, 1: True, 2: True, 3: True, 4: True, 5: False, 6: True, 9: True}
    b = {0: False, 1: False, 2: False, 3: False, 4: True, 5: False, 6: False, 8: True}
    got = ev.discordant_binomial(a, b)
    assert (got.n, got.statistic) == (5, 5)
    assert got.p_value == pytest.approx(1 / 32)
    assert ev.discordant_binomial(b, a).p_value == 1
    b[5] = True  # one pair the other way: P(K >= 5 of 6) = 7/64
    assert ev.discordant_binomial(a, b).p_value == pytest.approx(7 / 64)
    assert ev.discordant_binomial(a, a).p_value == 1
    with pytest.raises(ValueError, match="no seed in common"):
        ev.discordant_binomial({0: True}, {1: True})


def test_holm_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; the last is held up to 0.06
    assert ev.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert ev.holm([0.6, 0.9]) == [1, 1]
    with pytest.raises(ValueError, match="0 to 1"):
        ev.holm([0.5, 1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.2))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float], level: float) -> None:
    rejected: set[int] = set()
    for step, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if (len(p) - step) * p[i] > level:
            break
        rejected.add(i)
    assert {i for i, adjusted in enumerate(ev.holm(p)) if adjusted <= level} == rejected


# Results -------------------------------------------------------------------------------------


def test_results_are_plain_json() -> None:
    row = by_seed([1.0, 2.0, 3.0])
    results: list[Any] = [
        ev.recovered(row, by_seed([0, 0, 0.5]), by_seed([9, 8, 9])),
        ev.recovered(row, by_seed([0, 0, 0.5]), by_seed([9, 8, 9]), paired=False),
        ev.verdict(1.0, SEEDS, 1.0, higher_is_better=True),
        ev.paired_difference(row, row),
        ev.sign_flip_test([1.0, 2.0]),
        ev.discordant_binomial({0: True}, {0: False}),
    ]
    for fields in map(asdict, results):
        assert json.loads(json.dumps(fields, allow_nan=False)).keys() == fields.keys()
        assert not any(isinstance(value, np.generic) for value in fields.values())

"""The statistic of timings, on synthetic and stored samples; nothing is timed here."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from scipy import stats

from slt_bench.timing.statistics import (
    Ratio,
    changes,
    crossover,
    exponent,
    ratio,
    spread,
    times,
    verdicts,
)

#: Medians (microseconds) of ten rounds of a dense layer, its copy and a low-rank layer: forward,
#: 1024 -> 1024, batch 64, on two cores that other processes kept busy.
DENSE = [1639, 1669, 2072, 1633, 1874, 1845, 1675, 1627, 2019, 1650]
COPY = [1626, 2016, 1982, 1675, 1600, 1729, 1654, 1678, 1610, 1726]
LOW_RANK = [78, 77, 76, 81, 81, 73, 77, 79, 75, 79]


def simulated(rng, factor=1.0, n=10, within=0.03, drift=0.15):
    """(own, dense) over rounds: a drift of the machine that both share, and noise of each."""
    machine = np.exp(rng.normal(0, drift, n))
    own = factor * machine * np.exp(rng.normal(0, within, n))
    return own.tolist(), (machine * np.exp(rng.normal(0, within, n))).tolist()


def test_a_ratio_is_the_t_interval_of_paired_logarithms():
    logs = np.log(np.array(COPY) / np.array(DENSE))
    low, high = stats.t.interval(0.95, 9, logs.mean(), stats.sem(logs))
    found = ratio(COPY, DENSE)
    assert found.mean == pytest.approx(stats.gmean(np.array(COPY) / np.array(DENSE)))
    assert (found.low, found.high) == pytest.approx((exp(low), exp(high)))
    assert found.p_value == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)
    assert found.n == 10


def test_a_drift_of_the_machine_cancels():
    drift = np.linspace(1, 3, 10)
    found = ratio((drift * 2).tolist(), drift.tolist())
    assert (found.mean, found.spread) == pytest.approx((2, 0))
    assert found.p_value == 0


def test_stored_samples_get_their_verdicts():
    assert verdicts([ratio(COPY, DENSE), ratio(LOW_RANK, DENSE)]) == ["same", "faster"]
    assert verdicts([ratio(DENSE, LOW_RANK)]) == ["slower"]
    assert verdicts([]) == []


def test_no_verdict_below_ten_rounds_or_within_the_margin():
    assert verdicts([ratio(LOW_RANK[:9], DENSE[:9])]) == ["same"]
    sure = Ratio(mean=1.049, low=1.048, high=1.050, p_value=1e-12, spread=0.0, n=10)
    assert verdicts([sure]) == ["same"]
    assert verdicts([Ratio(1.051, 1.05, 1.052, 1e-12, 0.0, 10)]) == ["slower"]


def test_holm_is_over_the_rows_of_a_table():
    weak = Ratio(mean=1.2, low=1.01, high=1.42, p_value=0.03, spread=0.1, n=10)
    none = Ratio(mean=1.0, low=0.9, high=1.1, p_value=0.9, spread=0.1, n=10)
    assert verdicts([weak]) == ["slower"]
    assert verdicts([weak, none]) == ["same", "same"]


def test_equal_layers_are_called_the_same():
    rng = np.random.default_rng(0)
    tables = [[ratio(*simulated(rng)) for _ in range(6)] for _ in range(400)]
    wrong = sum(set(verdicts(rows)) != {"same"} for rows in tables)
    assert wrong / len(tables) <= 0.05  # of tables with any wrong row
    # Noise of 3 % rarely passes the margin; with more of it Holm's level alone must hold.
    tables = [[ratio(*simulated(rng, within=0.2)) for _ in range(6)] for _ in range(400)]
    wrong = sum(set(verdicts(rows)) != {"same"} for rows in tables)
    assert wrong / len(tables) <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_a_slow_down_of_a_fifth_is_seen():
    rng = np.random.default_rng(1)
    seen = sum(verdicts([ratio(*simulated(rng, 1.2))]) == ["slower"] for _ in range(200))
    assert seen >= 198


def test_a_round_without_a_pair_is_refused():
    with pytest.raises(ValueError, match="paired"):
        ratio([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="positive"):
        ratio([0.0], [1.0])
    alone = ratio([2.0], [1.0])
    assert (alone.mean, alone.low, alone.p_value) == (2.0, None, None)


def ratios(rng, factor=1.0, session=0.0, within=0.03):
    own, dense = simulated(rng, factor * exp(rng.normal(0, session)), within=within)
    return [a / b for a, b in zip(own, dense, strict=True)]


def test_a_planted_slow_down_is_worse_and_its_inverse_better():
    rng = np.random.default_rng(2)
    for _ in range(50):
        pairs = [(ratios(rng, 0.3), ratios(rng, 0.3)) for _ in range(5)]
        slow = (ratios(rng, 0.3), ratios(rng, 0.36))
        found = changes([*pairs, slow, slow[::-1]])
        assert [c.name for c in found[-2:]] == ["worse", "better"]
        assert found[-1].ratio == pytest.approx(1 / found[-2].ratio)


@pytest.mark.parametrize(("session", "within"), [(0.02, 0.03), (0.005, 0.01)])
def test_two_runs_of_one_commit_are_same_or_ambiguous(session, within):
    rng = np.random.default_rng(3)

    def run():  # each session has an offset of its own, which its rounds do not show
        return ratios(rng, 0.5, session, within)

    found = [c.name for _ in range(50) for c in changes([(run(), run()) for _ in range(20)])]
    wrong = sum(name in ("worse", "better") for name in found)
    assert wrong / len(found) <= 0.01
    if within == 0.01:
        assert found.count("same") / len(found) > 0.9


def test_a_change_is_tested_against_the_margin():
    before, after = np.full(10, 1.0), np.full(10, 1.04)
    assert changes([(before, after)])[0].name == "same"
    assert changes([(before, after * 1.02)])[0].name == "worse"
    assert changes([(before[:1], after[:1] * 2)])[0].name == "ambiguous"
    noisy = ([0.5, 1.0, 2.0], [0.6, 1.2, 2.4])
    assert changes([noisy])[0].name == "ambiguous"


def test_the_interval_of_a_change_is_welchs():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 0.1, 10), rng.normal(0.3, 0.2, 8)
    oracle = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    found = changes([(np.exp(a), np.exp(b))])[0]
    assert (log(found.low), log(found.high)) == pytest.approx((oracle.low, oracle.high))


def test_the_exponent_of_a_law_is_found():
    sizes = [256, 1024, 4096, 16384]
    found = exponent(sizes, [3e-9 * n**1.5 for n in sizes])
    assert found is not None
    assert found.value == pytest.approx(1.5)
    assert found.low == pytest.approx(1.5)
    bent = exponent(sizes, [1e-5 + 1e-9 * n**2 for n in sizes])  # a floor for small sizes
    assert bent is not None
    assert bent.low < bent.value < 2 < bent.high
    assert exponent([256, 256], [1.0, 2.0]) is None
    two = exponent([256, 512], [1.0, 2.0])
    assert two is not None
    assert (two.value, two.low) == (pytest.approx(1), None)


def test_times_and_spread():
    assert times([3.0, 1.0, 2.0]) == type(times([1.0]))(1.0, 2.0, 3.0, 3)
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("where", [700.0, 1024.0, 3000.0])
def test_the_crossover_of_two_laws_is_found(where):
    sizes = [4096, 256, 1024, 16384]  # in any order
    dense = [1e-9 * n**2 for n in sizes]
    own = [1e-9 * where * n for n in sizes]
    assert crossover(sizes, own, dense) == pytest.approx(where)


def test_a_crossover_is_where_a_line_goes_below_dense_for_good():
    sizes, dense = [1, 10, 100], [1.0, 1.0, 1.0]
    assert crossover(sizes, [2.0, 2.0, 0.5], dense) == pytest.approx(10**1.5)
    assert crossover(sizes, [0.5, 2.0, 0.5], dense) == pytest.approx(10**1.5)
    assert crossover(sizes, [0.5, 0.5, 0.5], dense) is None  # below from the start
    assert crossover(sizes, [0.5, 0.5, 2.0], dense) is None  # above at the end
    assert crossover(sizes, [2.0, 1.0, 1.0], dense) is None
    assert crossover(sizes, [2.0, 1.0, 0.5], dense) == pytest.approx(10)
    assert crossover([5], [0.5], [1.0]) is None


@pytest.mark.parametrize(
    "given", [([1, 2], [1.0], [1.0, 1.0]), ([1, 1], [2.0, 0.5], [1.0, 1.0]), ([1], [0.0], [1.0])]
)
def test_a_crossover_of_what_is_no_curve_is_refused(given):
    with pytest.raises(ValueError, match=r"shorter|twice|positive"):
        crossover(*given)

"""Verdicts on published numbers: the rule by hand, by class, and as properties."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from slt_bench import evidence as ev

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

"""The tests of the contrasts, and the correction over all of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slt_bench import evidence as ev


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

"""The size solver: exact counts, nearest value."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from slt_bench.errors import UsageError
from slt_bench.layers import Unsupported, count_parameters
from slt_bench.matching import match_parameters, parse_target
from slt_bench.registry import load_baseline

SQUARE = [(12, 12, False), (12, 12, False)]


@pytest.fixture(scope="module")
def layer():
    from pathlib import Path

    return load_baseline(str(Path(__file__).parent / "plugins" / "toy_layer.py"))


def test_the_nearest_value_is_picked_by_counting(layer):
    # two maps of rank r have 2 * 24 r weights
    match = match_parameters(layer, SQUARE, 130)
    assert (match.setting, match.value, match.count) == ("rank", 3, 144)
    assert match.deviation == pytest.approx(14 / 130)
    assert match.settings == {"rank": 3}


def test_a_ratio_is_of_the_dense_maps(layer):
    match = match_parameters(layer, SQUARE, 0.5)
    assert (match.target, match.count) == (144, 144)


def test_a_tie_goes_to_the_smaller_layer(layer):
    assert match_parameters(layer, SQUARE, 72).value == 1


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 9), m=st.integers(1, 9), target=st.integers(1, 400))
def test_no_value_comes_nearer(layer, n, m, target):
    match = match_parameters(layer, [(n, m, True)], target)
    counts = {r: count_parameters(layer(n, m, rank=r)) for r in range(1, 420)}
    assert abs(match.count - target) == min(abs(c - target) for c in counts.values())
    assert counts[match.value] == match.count


def test_without_a_size_setting_it_is_counted_as_it_is():
    match = match_parameters(nn.Linear, SQUARE, 100)
    assert (match.setting, match.count, match.settings) == (None, 288, {})


class Limited(nn.Module):
    size_setting = "rank"

    def __init__(self, in_features, out_features, bias=True, *, rank=1):
        super().__init__()
        self.weight = nn.Linear(in_features, rank, bias=False)

    @staticmethod
    def supports(in_features, out_features, *, rank=1):
        return None if rank <= in_features <= 20 else "rank beyond the input"


def test_what_supports_refuses_is_never_picked():
    assert match_parameters(Limited, [(5, 5, False)], 10_000).value == 5


def test_sizes_that_suit_no_value_say_why():
    with pytest.raises(Unsupported, match="rank beyond the input"):
        match_parameters(Limited, [(30, 5, False)], 10)


@pytest.mark.parametrize(
    ("text", "target"), [("8000", 8000), ("0.1", 0.1), ("1", 1), ("1e3", 1000)]
)
def test_targets(text, target):
    assert parse_target(text) == target
    assert type(parse_target(text)) is type(target)


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many"])
def test_wrong_targets(text):
    with pytest.raises(UsageError, match="cannot match"):
        parse_target(text)


class Constant(nn.Module):
    size_setting = "rank"

    def __init__(self, in_features, out_features, bias=True, *, rank=1):
        super().__init__()
        self.weight = nn.Linear(3, 3)


def test_a_setting_that_changes_no_size_ends_the_search():
    assert match_parameters(Constant, [(5, 5, False)], 1_000_000).count == 12


def test_the_value_on_the_other_side_is_told(layer):
    match = match_parameters(layer, SQUARE, 130)
    assert (match.value, match.neighbour, match.unmatched) == (3, 2, True)
    assert not match_parameters(layer, SQUARE, 144).unmatched

"""The statistic of comparisons on stored samples: a session of real layers on a shared machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slt_bench.timing.statistics import changes, ratio, verdicts

STORED = json.loads((Path(__file__).parent / "timing_samples.json").read_text())["ratios"]
ROWS = {name: np.array(values) for name, values in STORED.items()}
REPEATS = 100


def resampled(rng):
    """Another session of the same layers: ten rounds drawn from those that were measured."""
    return [rng.choice(values, 10) for values in ROWS.values()]


def names(before, after):
    return [change.name for change in changes(list(zip(before, after, strict=True)))]


def test_the_copies_of_dense_are_the_same_and_the_others_are_told_apart():
    found = verdicts([ratio(values, np.ones(10)) for values in ROWS.values()])
    by_row = dict(zip(ROWS, found, strict=True))
    copies = {verdict for name, verdict in by_row.items() if "copy" in name}
    assert copies == {"same"}
    for name, values in ROWS.items():
        if not 1 / 1.3 < np.median(values) < 1.3:
            assert by_row[name] == ("faster" if np.median(values) < 1 else "slower")


@pytest.mark.parametrize("split", ["halves", "turns"])
def test_two_halves_of_one_session_are_same_or_ambiguous(split):
    first = slice(0, 5) if split == "halves" else slice(0, 10, 2)
    second = slice(5, 10) if split == "halves" else slice(1, 10, 2)
    found = names([v[first] for v in ROWS.values()], [v[second] for v in ROWS.values()])
    wrong = sum(name in ("better", "worse") for name in found)
    assert wrong <= len(found) / 20


def test_two_sessions_of_one_commit_are_same_or_ambiguous():
    rng = np.random.default_rng(0)
    found = [name for _ in range(REPEATS) for name in names(resampled(rng), resampled(rng))]
    assert sum(name in ("better", "worse") for name in found) <= len(found) / 20


def test_a_planted_slow_down_of_a_fifth_is_worse():
    """One layer at a time, beside all others as they were; a loud row may stay in doubt."""
    rng = np.random.default_rng(1)
    quiet, loud = [], []
    for index, values in enumerate(ROWS.values()):
        kind = quiet if np.log(values).std(ddof=1) < 0.06 else loud
        for _ in range(10):
            before, after = resampled(rng), resampled(rng)
            after[index] = after[index] * 1.2
            kind.append(names(before, after)[index])
    assert len(quiet) >= 20 * 10
    assert quiet.count("worse") / len(quiet) >= 0.95
    assert set(loud) <= {"worse", "ambiguous"}

"""What all statistics have in common: what they refuse, and results that are plain JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from slt_bench import evidence as ev


@pytest.mark.parametrize(("values", "says"), [([], "at least one"), ([1, np.nan], "finite")])
def test_values_that_are_no_numbers_are_refused(values: list[float], says: str) -> None:
    for function in (ev.mean_interval, ev.interquartile_mean, ev.solved_count, ev.holm):
        with pytest.raises(ValueError, match=says):
            function(values)


def test_results_are_plain_json() -> None:
    row, floor, dense = (
        dict(enumerate(values)) for values in ([1.0, 2.0, 3.0], [0.0, 0.0, 0.5], [9.0, 8.0, 9.0])
    )
    results: list[Any] = [
        ev.recovered(row, floor, dense),
        ev.recovered(row, floor, dense, paired=False),
        ev.verdict(1.0, [9.0, 10.0, 11.0], 1.0, higher_is_better=True),
        ev.paired_difference(row, row),
        ev.sign_flip_test([1.0, 2.0]),
        ev.discordant_binomial({0: True}, {0: False}),
    ]
    for fields in map(asdict, results):
        assert json.loads(json.dumps(fields, allow_nan=False)).keys() == fields.keys()
        assert not any(isinstance(value, np.generic) for value in fields.values())

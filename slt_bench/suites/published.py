"""What a row's ``published`` holds: the number of the task's metric, and what is beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slt_bench.suites.values import is_count, is_number, is_text

WANTED = "a table of numbers, with parameter_count whole and printed_parameters a text"


def _are_numbers(value: Any) -> bool:
    return all(map(is_number, value if isinstance(value, list) else [value]))


#: Beside the metric: ``parameter_count`` is exact, ``printed_parameters`` a text, ``curve`` the
#: penalty at the start and after each epoch, ``other_runs`` values of the metric.
BESIDE: Mapping[str, Callable[[Any], bool]] = {
    "loss": _are_numbers,
    "parameter_count": is_count,
    "printed_parameters": is_text,
    "curve": _are_numbers,
    "other_runs": _are_numbers,
}


def is_valid(value: Any) -> bool:
    """Whether a value of the file is such a table."""
    return isinstance(value, dict) and all(
        BESIDE.get(name, _are_numbers)(v) for name, v in value.items()
    )


def metric_of(published: Mapping[str, Any]) -> str | None:
    """The metric that a number was printed of, or None."""
    return next((name for name in published if name not in BESIDE), None)

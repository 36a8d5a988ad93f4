"""The fields of a suite's file: which there are, and what each may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slt_bench.errors import UsageError, unknown
from slt_bench.suites import published
from slt_bench.suites.values import is_count, is_number, is_text

#: What a field must hold, in words, and whether a value is that.
Field = tuple[str, Callable[[Any], bool]]


def check(
    table: Mapping[str, Any], fields: Mapping[str, Field], required: Sequence[str], where: str
) -> None:
    """Refuse fields that do not exist, hold something else, or are required and missing.

    Raises:
        UsageError: beginning with ``where``, the file or its row.
    """
    for name, value in table.items():
        if name not in fields:
            raise UsageError(f"{where}: {unknown('field', name, fields)}")
        wanted, valid = fields[name]
        if not valid(value):
            raise UsageError(f"{where}: {name} = {value!r} is not {wanted}")
    for name in required:
        if name not in table:
            raise UsageError(f"{where}: field {name!r} is missing")


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_text, value))


def _are_seeds(value: Any) -> bool:
    if not isinstance(value, list):
        return is_count(value)
    whole = all(type(seed) is int and seed >= 0 for seed in value)
    return whole and 0 < len(value) == len(set(value))


def _are_limits(value: Any) -> bool:
    return isinstance(value, dict) and all(is_number(v) and v > 0 for v in value.values())


def _are_classes(value: Any) -> bool:
    return _are_limits(value) and value.keys() <= {"solved", "stuck_within"}


_TEXT: Field = ("a text that is not empty", is_text)
_NAMES: Field = ("a list of names", _are_names)
_TABLE: Field = ("a table", lambda value: isinstance(value, dict))
_LIMITS: Field = ("a table of positive numbers", _are_limits)
_ROWS: Field = (
    "one or more [[row]] tables",
    lambda value: isinstance(value, list) and all(isinstance(row, dict) for row in value),
)

SUITE: dict[str, Field] = {
    "title": _TEXT,
    "source": _TEXT,
    "note": _TEXT,
    "budget": _TEXT,
    "seeds": ("a count above 0, or a list of different seeds from 0", _are_seeds),
    "tasks": _NAMES,
    "floor": _TEXT,
    "margins": _LIMITS,
    "classes": ("a table of solved and stuck_within, in percent", _are_classes),
    "row": _ROWS,
}
ROW: dict[str, Field] = {
    "id": _TEXT,
    "label": _TEXT,
    "tasks": _NAMES,
    "baselines": _NAMES,
    "slots": _NAMES,
    "settings": _TABLE,
    "options": _TABLE,
    "published_options": _TABLE,
    "published": (published.WANTED, published.is_valid),
    "known": _TEXT,
    "not_comparable": _TEXT,
}

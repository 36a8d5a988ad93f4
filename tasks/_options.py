"""The ranges of options: what every task refuses in the same words."""

from __future__ import annotations

from math import isfinite


def at_least(bound: int, **values: int | None) -> None:
    """Refuses an option below ``bound``; None stands for "not set". Raises ValueError."""
    for name, value in values.items():
        if value is not None and value < bound:
            raise ValueError(f"{name}={value}: give a whole number from {bound}")


def positive(**values: float | None) -> None:
    """Refuses an option that is not a finite number above 0; None is "not set". ValueError."""
    for name, value in values.items():
        if value is not None and not (isfinite(value) and value > 0):
            raise ValueError(f"{name}={value}: give a number above 0")

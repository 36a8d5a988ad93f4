"""The names in a suite's file: every one, those asked for, and those that are not installed."""

from __future__ import annotations

from collections.abc import Sequence

from slt_bench import registry

#: In place of names: every task, or every baseline that is no control.
EVERY = "*"


def is_missing(kind: registry.Kind, name: str) -> bool:
    """True for a plain name that does not exist; a wrong FILE.py:Class is an error elsewhere."""
    plain = ":" not in name and not name.endswith(".py")
    return plain and name not in registry.entries(kind)


def kept_names(
    kind: registry.Kind, names: tuple[str, ...], asked: Sequence[str]
) -> tuple[str, ...]:
    """Those of a row's names that are asked for; all of them where nothing is."""
    wanted = {registry.resolve(kind, reference).name: reference for reference in asked}
    if not wanted or EVERY in names:
        return tuple(wanted.values()) or names
    return tuple(
        name
        for name in names
        if not is_missing(kind, name) and registry.resolve(kind, name).name in wanted
    )

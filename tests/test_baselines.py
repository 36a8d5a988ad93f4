"""Every built-in baseline satisfies the conformance suite, whichever baselines there are."""

from __future__ import annotations

from typing import Any

import pytest

from slt_bench import registry
from slt_bench.conformance import check, checks

BUILT_IN = [entry.name for entry in registry.entries("baselines").values() if entry.builtin]
GRID = [
    (name, setting, value)
    for name in BUILT_IN
    for setting, values in registry.describe(registry.resolve("baselines", name))[1]
    .get("grid", {})
    .items()
    for value in values
]


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("each", checks())
def test_conforms(name: str, each: str) -> None:
    findings = check(name, only=[each])
    assert [f for f in findings if f.kind != "exempt"] == []


@pytest.mark.parametrize(("name", "setting", "value"), GRID)
def test_conforms_over_its_grid(name: str, setting: str, value: Any) -> None:
    """Except for compiling, which takes longest and depends on settings least."""
    findings = check(name, {setting: value}, only=set(checks()) - {"compile"})
    assert [f for f in findings if f.kind != "exempt"] == []

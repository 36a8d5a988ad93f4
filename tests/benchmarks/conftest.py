"""The table that a run of the benchmarks ends with."""

from __future__ import annotations

import pytest
from measuring import Result

from slt_bench.kernels import instruction_set

RESULTS: list[Result] = []
OTHERS: dict[str, dict[str, float]] = {}


@pytest.fixture
def results() -> list[Result]:
    """Rows for the table at the end."""
    return RESULTS


@pytest.fixture
def others() -> dict[str, dict[str, float]]:
    """Milliseconds of everything that was measured, by group, for the lines below the table."""
    return OTHERS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not RESULTS:
        return
    write = terminalreporter.write_line
    terminalreporter.section(f"times as fast; {instruction_set()}, float32, one thread")
    write(f"{'':58s} {'against':20s} {'ms':>9s} {'times':>7s} {'reach':>6s} {'aim':>5s}")
    for r in RESULTS:
        verdict = "" if r.met else f"  below{': ' * bool(r.limit)}{r.limit}"
        write(
            f"{r.name:58s} {r.peer:20s} {r.ours_seconds * 1e3:9.2f} {r.ratio:7.2f} "
            f"{r.reach:6.2f} {r.aim:5.1f}{verdict}"
        )
    write("")
    for group, seconds in OTHERS.items():
        write(f"{group}, ms: " + ", ".join(f"{k} {v * 1e3:.4g}" for k, v in seconds.items()))

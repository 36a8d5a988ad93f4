"""Real data in tests: skipped loudly where it is not at hand, and never from the network.

``@pytest.mark.data("mnist")`` names the data sets that a test reads; without a name it is all that
are not shipped. Set ``SLT_BENCH_DATA`` to the folder that holds ``mnist/`` and ``ptb/``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REASON = "needs data set"


def pytest_configure() -> None:
    # Tests change folder and start processes: a relative path must keep its meaning.
    if folder := os.environ.get("SLT_BENCH_DATA"):
        os.environ["SLT_BENCH_DATA"] = str(Path(folder).expanduser().resolve())
    os.environ["SLT_BENCH_OFFLINE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [(item, mark) for item in items if (mark := item.get_closest_marker("data"))]
    if not marked:
        return
    from slt_bench import datasets

    shipped = {name for name in datasets.names() if datasets.describe(name).shipped}
    missing = set()
    for name in set(datasets.names()) - shipped:
        try:
            datasets.fetch(name)
        except datasets.WrongHash:
            pass  # not a reason to skip: the test fails and says which file is wrong
        except datasets.DataUnavailable:
            missing.add(name)
    for item, mark in marked:
        needed = set(mark.args) or set(datasets.names()) - shipped
        if absent := sorted(needed & missing):
            reason = (
                f"{_REASON} {', '.join(absent)}: set SLT_BENCH_DATA to the folder that holds it"
            )
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [
        report
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple) and _REASON in report.longrepr[2]
    ]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests were SKIPPED for want of data: set SLT_BENCH_DATA to a folder "
            "that holds mnist/ and ptb/ to run them",
            yellow=True,
            bold=True,
        )


@pytest.fixture
def toy_task() -> str:
    """A task outside the tree that trains in milliseconds."""
    return str(Path(__file__).parent / "plugins" / "toy_task.py")


@pytest.fixture
def toy_layer() -> str:
    """A baseline outside the tree."""
    return str(Path(__file__).parent / "plugins" / "toy_layer.py")

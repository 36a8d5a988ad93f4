"""Real data in tests: skipped loudly where it is not at hand, and never from the network.

Tests marked ``gpu`` are skipped where torch finds no CUDA device.

``@pytest.mark.data("mnist")`` names the data sets that a test reads; without a name it is all that
are not shipped. Set ``SLT_BENCH_DATA`` to the folder that holds ``mnist/`` and ``ptb/``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_REASON = "needs data set"


def pytest_configure() -> None:
    # Tests change folder and start processes: a relative path must keep its meaning.
    if folder := os.environ.get("SLT_BENCH_DATA"):
        os.environ["SLT_BENCH_DATA"] = str(Path(folder).expanduser().resolve())
    os.environ["SLT_BENCH_OFFLINE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    _skip_without_gpu([item for item in items if item.get_closest_marker("gpu")])
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


def _skip_without_gpu(items: list[pytest.Item]) -> None:
    if not items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device: torch finds none"))


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


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All uninitialised memory is NaN: what a kernel or torch leaves unwritten shows."""
    import torch

    from slt_bench import kernels

    for method in ("lease", "scratch"):
        given = getattr(kernels.Workspace, method)

        def poisoned(
            self: kernels.Workspace, count: int, dtype: torch.dtype, given: Any = given
        ) -> torch.Tensor:
            filled: torch.Tensor = given(self, count, dtype).fill_(torch.nan)
            return filled

        monkeypatch.setattr(kernels.Workspace, method, poisoned)
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)

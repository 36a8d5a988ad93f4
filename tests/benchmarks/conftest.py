"""Fixtures that measure and keep records, and the table that a run of the benchmarks ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from measuring import Comparison, table
from one_process import OneProcess

from slt_bench.kernels import enabled
from slt_bench.kernels.sequence import fused_available
from slt_bench.store import Record
from slt_bench.timing.turns import instruction_set
from slt_bench.timing.worker import Worker

RECORDS: list[Record] = []


@pytest.fixture
def compare(benchmark: Any) -> Callable[[Comparison], Record]:
    """Measure a comparison, keep its record, and fail where a goal is missed by far.

    No absolute time is asserted, and a ratio only at half of what is asked: that far off, a fast
    path was not taken.
    """
    if not (enabled() and fused_available(torch.float32)):
        pytest.skip("needs a C compiler, and no SLT_BENCH_KERNELS=0: the ratios are of kernels")

    def run(comparison: Comparison) -> Record:
        record = comparison.record()
        RECORDS.append(record)
        benchmark.extra_info["record"] = record
        benchmark.group = "the first way of each comparison, once; ratios stand in the table below"
        benchmark.pedantic(next(iter(comparison.ways.values())), rounds=1)
        assert not comparison.lost(record)
        return record

    return run


@pytest.fixture(scope="session")
def one_process() -> Iterator[OneProcess]:
    """What times a cell of ``slt-bench time`` by pytest-benchmark, in this process."""
    with Worker() as worker:
        yield OneProcess(worker)


@pytest.hookimpl(trylast=True)  # below pytest-benchmark's own tables
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if RECORDS:
        title = f"times as fast; {instruction_set()}, float32, one thread"
        terminalreporter.section(title)
        table(RECORDS, terminalreporter.write_line)

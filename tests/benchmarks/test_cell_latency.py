"""Single layers, and a GRU over a sequence, by pytest-benchmark: a quick look for regressions.

The same measured functions as ``slt-bench time``; the records land in the same table, marked as
one process.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from one_process import OneProcess

from slt_bench import registry
from slt_bench.layers import Unsupported
from slt_bench.timing.cell import Cell, Mode
from slt_bench.timing.hardware import hardware_name
from slt_bench.timing.turns import instruction_set, stands_in

BATCH, STEPS = 64, 150
GRID: tuple[tuple[Mode, int], ...] = (
    *(("forward", 256), ("forward", 1024), ("training", 256), ("training", 1024)),
    ("sequence", 256),
)


def cells() -> list[Any]:
    """(mode, n, baseline): dense first in each group, so that the others find its time."""
    names = [
        name
        for name in registry.entries("baselines")
        if not registry.is_control(registry.load_baseline(name)) and name != "dense"
    ]
    return [
        pytest.param(mode, n, name, id=f"{mode}-{n}-{name}")
        for mode, n in GRID
        for name in ("dense", *names)
    ]


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
@pytest.mark.parametrize(("mode", "n", "baseline"), cells())
@pytest.mark.benchmark(min_time=0.005, max_time=0.3, min_rounds=5)
def test_latency(
    mode: Mode, n: int, baseline: str, device: str, benchmark: Any, one_process: OneProcess
) -> None:
    if device == "cpu" and stands_in():
        pytest.skip(f"{instruction_set()}: these times would stand for the whole processor")
    cell = Cell(
        baseline=baseline,
        settings={},
        shape=(n, n),
        batch=BATCH,
        mode=mode,
        device=device,
        hardware=hardware_name(device),
        steps=STEPS if mode == "sequence" else None,
    )
    benchmark.group = f"{mode}, n = {n}, batch {BATCH}, {device}"
    try:
        benchmark.extra_info["record"] = one_process.time(cell, benchmark)
    except Unsupported as error:
        pytest.skip(str(error))

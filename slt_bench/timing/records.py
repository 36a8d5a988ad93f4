"""The content of records of kind ``time`` that no protocol changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from slt_bench import kernels
from slt_bench.provenance import environment
from slt_bench.registry import settings_of, source_digest
from slt_bench.timing import gpu
from slt_bench.timing.cell import Cell
from slt_bench.timing.floor import Rates, Work
from slt_bench.timing.hardware import hardware_facts


def cell_facts(
    cell: Cell, facts: Mapping[str, Any], rates: Rates, match: str | None = None
) -> dict[str, Any]:
    """``parameter_count`` and ``facts`` of a record, from the document of ``jobs.facts``."""
    work = Work(facts["moved_bytes"], facts["call_multiply_adds"])
    kept = (
        *("parameter_bytes", "multiply_adds", "call_multiply_adds"),
        *("moved_bytes", "peak_bytes", "predicted_bytes"),
    )
    return {
        "parameter_count": facts["parameter_count"],
        "facts": {
            "settings": {**settings_of(cell.load_baseline()), **facts["settings"]},
            **{name: facts[name] for name in kept},
            "floor_seconds": rates.floor(work),
            "rates": rates.document,
            "match": match,
            "reference": reference(cell),
        },
    }


def reference(cell: Cell) -> str:
    """By what ``-b`` finds the baseline: its name, or its file (without folders) and class."""
    return Path(cell.baseline_source).name if cell.baseline_source else cell.baseline


def machine_facts(device: str) -> dict[str, Any]:
    """Versions, hardware and what its times depend on, as found in this process."""
    found = environment(torch.device(device))
    if device == "cpu":
        found["kernels"] = kernels.kernel_facts()
    else:
        found["gpu"] = {**(found["gpu"] or {}), **(gpu.state() or {})}
    return {**found, "float32_matmul_precision": "highest", **hardware_facts()}


def cell_provenance(
    cell: Cell, machine: Mapping[str, Any], strategy: str | None, finished: str
) -> dict[str, Any]:
    """Where a time comes from: ``machine`` is what :func:`machine_facts` found; ``strategy``: the
    one that a GRU took; ``finished``: when the last round was measured (UTC)."""
    return {
        **machine,
        "finished": finished,
        "threads": cell.threads,
        "source": {"baseline": source_digest(cell.load_baseline())},
        "strategy": strategy,
    }

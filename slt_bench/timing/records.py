"""The content of records of kind ``time`` that no protocol changes."""

from __future__ import annotations

from collections.abc import Mapping
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
        },
    }


def cell_provenance(cell: Cell, strategy: str | None) -> dict[str, Any]:
    """Where a time comes from; ``strategy``: the one that a GRU took."""
    return {
        **environment(torch.device("cpu")),
        "source": {"baseline": source_digest(cell.load_baseline())},
        "threads": cell.threads,
        "device": cell.device,
        "gpu": {"name": cell.hardware, **(gpu.state() or {})} if cell.device != "cpu" else None,
        "strategy": strategy,
        "kernels": kernels.enabled(),
        "float32_matmul_precision": "highest",
        **hardware_facts(),
    }

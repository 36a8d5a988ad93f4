"""Records of kind ``time`` made by hand: rounds of one sample each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slt_bench.store import Record
from slt_bench.timing.cell import Cell


def make_cell(baseline: str = "low_rank", n: int = 256, **more: Any) -> Cell:
    values: dict[str, Any] = {
        "settings": {}, "shape": (n, n), "batch": 8, "mode": "forward", "hardware": "Chip",
    }  # fmt: skip
    return Cell(baseline, **{**values, **more})


def make_record(
    cell: Cell, medians: Sequence[float], dense: Sequence[float] = (), **facts: Any
) -> Record:
    """A record with a round for each of ``medians`` (seconds), paired with ``dense``."""
    rounds: list[dict[str, Any]] = [
        {"round": i, "measures": {"call": {"median": m, "samples": [m]}}, "setup_ms": 1.0}
        for i, m in enumerate(medians)
    ]
    for one, other in zip(rounds, dense, strict=False):
        one["dense"] = {"call": other}
    n = cell.shape[0]
    noisy = facts.pop("noisy", [])
    return {
        "schema": 1,
        "key": cell.key,
        "kind": "time",
        "trial": cell.identity,
        "status": "done",
        "timing": {"rounds": rounds, "setup_ms": 1.0, "noisy": noisy},
        "parameter_count": n * n,
        "facts": {
            "call_multiply_adds": cell.batch * n * n,
            "peak_bytes": 4 * n * n,
            "floor_seconds": 1e-6,
            "match": None,
            **facts,
        },
        "provenance": {
            "version": "0.1.0", "commit": "0123456789abcdef", "dirty": False, "torch": "2.13.0",
            "instruction_sets": ["avx2"], "physical_cores": 2, "governor": None, "turbo": None,
            "smt": False, "threads": 1, "device": "cpu", "gpu": None,
        },
    }  # fmt: skip


def make_failure(cell: Cell, status: str = "out of memory", error: str = "needs 48 GiB") -> Record:
    head = {"schema": 1, "key": cell.key, "kind": "time", "trial": cell.identity}
    return {**head, "status": status, "error": error, "provenance": {}}

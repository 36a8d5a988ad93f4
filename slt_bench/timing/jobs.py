"""What runs in a fresh process: one measurement of a cell, its facts, or those of the machine.

Results are plain documents; a job that cannot be done returns ``{"status", "message"}`` with a
status other than ``done``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from slt_bench.layers import Unsupported, count_parameters, multiply_adds
from slt_bench.provenance import utc_now
from slt_bench.timing import gpu
from slt_bench.timing.cell import Cell
from slt_bench.timing.check import WrongOutput, check
from slt_bench.timing.floor import measure_rates, work
from slt_bench.timing.functions import Measured, construction_settings, prepare
from slt_bench.timing.memory import (
    USABLE,
    available_bytes,
    limit_memory,
    peak_bytes,
    predicted_bytes,
)
from slt_bench.timing.records import machine_facts
from slt_bench.timing.sampling import Protocol, sample, warm_up

Document = dict[str, Any]


def measure(cell: Cell, protocol: Protocol) -> Document:
    """Check, warm up, sample: one cell in one process."""

    def job() -> Document:
        measured = prepare(cell)
        with measured.context():
            setup = warm_up(measured.call, protocol)
            output = measured.call()
        checked = check(cell, measured, output)
        with measured.context():
            call = sample(measured.call, cell.threads, protocol).document
            measures = {"call": call}
            if cell.device != "cpu":
                measures["kernel"] = gpu.kernel_time(measured.call)
        return {
            "measures": measures,
            "setup_ms": 1000 * setup,
            "reference": checked.reference,
            "error": checked.error,
            "strategy": getattr(measured.layer, "last_strategy", None),
            "finished": utc_now(),
        }

    return _guarded(job, cell.device, cell.threads)


def facts(cell: Cell) -> Document:
    """What does not depend on the round: sizes, the fewest work, peak memory in its own pass.

    Memory is predicted first: a cell that would not fit is not tried.
    """

    def job() -> Document:
        free = available_bytes(cell.device)
        needed = predicted_bytes(cell)
        if free is not None and needed > USABLE * free:
            return {
                "status": "out of memory",
                "message": f"needs {needed / 2**30:.1f} GiB by prediction, with its check in "
                f"float64; {free / 2**30:.1f} GiB are free",
            }
        measured = prepare(cell)
        layer = measured.layer
        needs = work(cell, measured)
        return {
            "parameter_count": count_parameters(layer),
            "parameter_bytes": sum(p.numel() * p.element_size() for p in layer.parameters()),
            "multiply_adds": None if cell.mode == "sequence" else multiply_adds(layer),
            "moved_bytes": needs.moved_bytes,
            "call_multiply_adds": needs.multiply_adds,
            "peak_bytes": _peak(measured, cell.device),
            "predicted_bytes": needed,
            "settings": construction_settings(cell),
        }

    return _guarded(job, cell.device, cell.threads)


def machine(device: str, threads: int, dtype: str, protocol: Protocol) -> Document:
    """What the times are of: versions, hardware, kernels; and the rates for the floor."""

    def job() -> Document:
        return {
            "environment": machine_facts(device),
            "rates": measure_rates(device, threads, dtype, protocol).document,
        }

    return _guarded(job, device, threads)


def _peak(measured: Measured, device: str) -> int:
    with measured.context():
        measured.call()  # what is allocated once, at the first call, is no part of a call
        null, standard_error = os.open(os.devnull, os.O_WRONLY), os.dup(2)
        os.dup2(null, 2)  # the profiler writes lines of its own to this process's standard error
        try:
            return peak_bytes(measured, device)
        finally:
            os.dup2(standard_error, 2)


def _guarded(job: Callable[[], Document], device: str, threads: int) -> Document:
    """Run a job with fixed precision and threads, and turn what can go wrong into a status."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    limit_memory(device)
    try:
        return {"status": "done", **job()}
    except Unsupported as error:
        return _failure("unsupported", error)
    except WrongOutput as error:
        return _failure("wrong output", error)
    except MemoryError as error:
        return _failure("out of memory", error)
    except Exception as error:
        lacking = isinstance(error, torch.OutOfMemoryError) or "can't allocate" in str(error)
        return _failure("out of memory" if lacking else "error", error)


def _failure(status: str, error: Exception) -> Document:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return {"status": status, "message": text}

"""The cells of ``slt-bench time``, timed by pytest-benchmark in one process.

The function that is timed and its check are those of the full protocol
(``slt_bench.timing.functions``, ``check``), and so are sizes, floor and peak memory. There is one
round, in one process, on a machine that nobody watches: a quick look for regressions, without a
verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from slt_bench.layers import Unsupported
from slt_bench.provenance import utc_now
from slt_bench.store import SCHEMA, Record
from slt_bench.timing import jobs
from slt_bench.timing.cell import Cell
from slt_bench.timing.check import check
from slt_bench.timing.floor import Rates
from slt_bench.timing.functions import Measured, prepare
from slt_bench.timing.records import cell_facts, cell_provenance
from slt_bench.timing.sampling import Protocol, warm_up
from slt_bench.timing.statistics import spread
from slt_bench.timing.worker import Worker
from slt_bench.trial import key_of

PROTOCOL = "pytest-benchmark"
#: For the rates of the floor alone.
_QUICK = Protocol(samples=10, seconds=0.05, spread=0.1, cap=0.5)


class OneProcess:
    """Times cells one after the other; those of dense stand for the ratios of their groups."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.machines: dict[str, dict[str, Any]] = {}
        self.dense: dict[str, float] = {}

    def time(self, cell: Cell, benchmark: Any) -> Record:
        """Check, then time; the record is of kind ``time``, with one round.

        Raises:
            Unsupported: the baseline cannot have these sizes.
        """
        facts, machine = self._job(jobs.facts, cell), self._machine(cell)
        threads = torch.get_num_threads()
        torch.set_num_threads(cell.threads)
        try:
            measured = prepare(cell)
            with measured.context():
                setup = warm_up(measured.call, _QUICK)
                output = measured.call()
            checked = check(cell, measured, output)
            with measured.context():
                benchmark(_synchronised(measured, cell.device))
        finally:
            torch.set_num_threads(threads)
        samples = [float(value) for value in benchmark.stats.stats.data]
        taken: dict[str, Any] = {
            "round": 1,
            "position": 0,
            "measures": {
                "call": {
                    "median": float(benchmark.stats.stats.median),
                    "spread": spread(samples),
                    "calls": benchmark.stats.iterations,
                    "samples": [float(f"{value:.5g}") for value in samples],
                }
            },
            "setup_ms": 1000 * setup,
            "reference": checked.reference,
            "error": checked.error,
            "strategy": getattr(measured.layer, "last_strategy", None),
            "finished": utc_now(),
        }
        if cell.is_dense:
            self.dense[cell.group_key] = taken["measures"]["call"]["median"]
        elif cell.group_key in self.dense:
            taken["dense"] = {"call": self.dense[cell.group_key]}
        identity = {**cell.identity, "protocol": PROTOCOL}
        return {
            "schema": SCHEMA,
            "key": key_of(identity),
            "kind": "time",
            "trial": identity,
            "status": "done",
            "timing": {"rounds": [taken], "setup_ms": taken["setup_ms"], "noisy": []},
            **cell_facts(cell, facts, Rates.from_document(machine["rates"])),
            "provenance": cell_provenance(
                cell, machine["environment"], taken["strategy"], taken["finished"]
            ),
        }

    def _machine(self, cell: Cell) -> dict[str, Any]:
        if cell.machine not in self.machines:
            self.machines[cell.machine] = self._job(
                jobs.machine, cell.device, cell.threads, cell.dtype, _QUICK
            )
        return self.machines[cell.machine]

    def _job(self, job: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        found = self.worker.run(job, *arguments)
        if found["status"] == "unsupported":
            raise Unsupported(found["message"])
        assert found["status"] == "done", found["message"]
        return found


def _synchronised(measured: Measured, device: str) -> Callable[[], Any]:
    """The call; on a GPU until the device has done it."""
    if device == "cpu":
        return measured.call

    def call() -> None:
        measured.call()
        torch.cuda.synchronize()

    return call

"""A session: rounds of fresh processes, dense and its copy in each, and the records they make."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from slt_bench import kernels, running
from slt_bench.provenance import environment
from slt_bench.registry import settings_of, source_digest
from slt_bench.store import SCHEMA, Record, Store
from slt_bench.timing import gpu, jobs, noise
from slt_bench.timing.cell import Cell
from slt_bench.timing.floor import Rates, Work
from slt_bench.timing.hardware import hardware_facts
from slt_bench.timing.sampling import Protocol
from slt_bench.timing.worker import Worker

#: Failures that belong to the cell; any other may not happen again.
DETERMINED = ("unsupported", "out of memory", "wrong output")


@dataclass(frozen=True)
class Plan:
    """How a session measures.

    Attributes:
        rounds: rounds of fresh processes.
        patience: seconds to wait for a quiet machine before each round.
        allow_noisy: publish noisy rows too, with their mark.
    """

    rounds: int = 10
    patience: float = 60.0
    allow_noisy: bool = False
    protocol: Protocol = field(default_factory=Protocol)


@dataclass(frozen=True)
class Row:
    """How a cell ended: its record (finished or failed), whether it was published, and why not."""

    cell: Cell
    record: Record
    published: bool
    noisy: tuple[str, ...] = ()


@dataclass
class _Taken:
    """What the rounds of one cell have given so far."""

    cell: Cell
    facts: dict[str, Any]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failure: dict[str, Any] | None = None


def measure(
    cells: Sequence[Cell],
    store: Store,
    plan: Plan,
    say: Callable[[str], None] = lambda text: None,
    *,
    match: str | None = None,
) -> list[Row]:
    """Measure the cells and publish their records.

    Every group of cells (one shape, batch, mode, device, ...) should hold dense and its copy:
    ratios are to the dense of the same round. ``match`` is kept in the records: the budget that
    the settings were solved for.

    Raises:
        Busy: another timing is running.
        Noisy: the machine did not become quiet; nothing is published.
    """
    store.check_writable()
    with running.timing():
        # Before anything is started, so that a loaded machine is refused at once.
        _wait_for_quiet(noise.Meter(time.process_time), plan, say)
        with Worker() as worker:
            return list(_Session(cells, store, plan, say, worker, match).run())


def _wait_for_quiet(meter: noise.Meter, plan: Plan, say: Callable[[str], None]) -> float | None:
    window = plan.protocol.window
    return noise.wait_for_quiet(meter, window, plan.patience, plan.allow_noisy, say)


class _Session:
    def __init__(
        self,
        cells: Sequence[Cell],
        store: Store,
        plan: Plan,
        say: Callable[[str], None],
        worker: Worker,
        match: str | None,
    ) -> None:
        self.cells, self.store, self.plan, self.say, self.worker = cells, store, plan, say, worker
        self.match = match
        self.taken: dict[str, _Taken] = {}
        self.rates: dict[tuple[str, int, str], Rates] = {}
        self.meter = noise.Meter(lambda: self.worker.own_seconds)
        self.before: list[float | None] = []
        self.during: dict[str, list[float | None]] = {}
        self.gpu_reasons: list[str] = []

    def run(self) -> Iterator[Row]:
        self.gather_facts()
        for number in range(1, self.plan.rounds + 1):
            self.round(number)
        for taken in self.taken.values():
            yield self.conclude(taken)

    def gather_facts(self) -> None:
        """Sizes, memory and rates: once a session, apart from what is timed."""
        for cell in self.cells:
            found = self.worker.run(jobs.facts, cell)
            failure = None if found["status"] == "done" else found
            self.taken[cell.key] = _Taken(cell, found, failure=failure)
            if failure:
                self.say(f"{cell.label}: {failure['status']}: {failure['message']}")
        for cell in self.cells:
            machine = (cell.device, cell.threads, cell.dtype)
            if machine not in self.rates:
                found = self.worker.run(jobs.rates, *machine, self.plan.protocol)
                if found["status"] != "done":
                    raise RuntimeError(f"the rates of the floor: {found['message']}")
                self.rates[machine] = found["rates"]

    def round(self, number: int) -> None:
        """Every cell once, each in a fresh process; groups and cells in a shuffled order.

        A group stays together: what drifts over minutes is the same for a layer and its dense.
        """
        self.before.append(_wait_for_quiet(self.meter, self.plan, self.say))
        on_gpu = any(cell.device != "cpu" for cell in self.cells)
        card = gpu.state() if on_gpu else None
        if on_gpu and gpu.other_processes():
            self.gpu_reasons.append("another process is on the GPU")
        groups = self.groups()
        shuffle = random.Random(f"round {number}").shuffle
        shuffle(groups)
        for position, group in enumerate(groups):
            shuffle(group)
            self.meter.restart()
            for taken in group:
                self.once(taken, number, position)
            share = self.meter.others()
            self.during.setdefault(group[0].cell.group_key, []).append(share)
        if on_gpu:
            self.gpu_reasons += gpu.reasons(card, gpu.state())
        self.say(f"round {number} of {self.plan.rounds}: {sum(map(len, groups))} processes")

    def groups(self) -> list[list[_Taken]]:
        found: dict[str, list[_Taken]] = {}
        for taken in self.taken.values():
            if taken.failure is None:
                found.setdefault(taken.cell.group_key, []).append(taken)
        return list(found.values())

    def once(self, taken: _Taken, number: int, position: int) -> None:
        result = self.worker.run(jobs.measure, taken.cell, self.plan.protocol)
        if result["status"] != "done":
            taken.failure = result
            self.say(f"{taken.cell.label}: {result['status']}: {result['message']}")
            return
        result.pop("status")
        taken.rounds.append({"round": number, "position": position, **result})

    # Records -----------------------------------------------------------------------------------

    def conclude(self, taken: _Taken) -> Row:
        cell = taken.cell
        head = {"schema": SCHEMA, "key": cell.key, "kind": "time", "trial": cell.identity}
        if taken.failure is not None:
            record = {
                **head,
                "status": taken.failure["status"],
                "error": taken.failure["message"],
                "provenance": self.provenance(taken),
            }
            self.store.publish_failure(record)
            return Row(cell, record, published=False)
        dense = next((t for t in self.taken.values() if self.is_reference(t, cell)), None)
        ratios = []
        if dense is not None and not cell.is_dense:
            for own, other in zip(taken.rounds, dense.rounds, strict=True):
                own["dense"] = {name: m["median"] for name, m in other["measures"].items()}
                call = own["measures"]["call"]["median"]
                ratios.append(call / own["dense"]["call"])
        reasons = noise.reasons(ratios, self.before, self.during[cell.group_key])
        reasons += dict.fromkeys([*self.gpu_reasons, *gpu.reasons_of(taken.rounds)])
        published = not reasons or self.plan.allow_noisy
        record = {**head, "status": "done", **self.content(taken, reasons)}
        if published:
            self.store.publish(record)
        return Row(cell, record, published, tuple(reasons))

    def is_reference(self, taken: _Taken, cell: Cell) -> bool:
        same_group = taken.cell.group_key == cell.group_key
        return same_group and taken.cell.is_dense and taken.failure is None

    def content(self, taken: _Taken, reasons: Sequence[str]) -> dict[str, Any]:
        cell, facts = taken.cell, taken.facts
        rates = self.rates[cell.device, cell.threads, cell.dtype]
        work = Work(facts["moved_bytes"], facts["call_multiply_adds"])
        return {
            "timing": {
                "rounds": taken.rounds,
                "setup_ms": statistics.median(r["setup_ms"] for r in taken.rounds),
                "others_before": self.before,
                "others_during": self.during[cell.group_key],
                "noisy": list(reasons),
            },
            "parameter_count": facts["parameter_count"],
            "facts": {
                "settings": {**settings_of(cell.load_baseline()), **facts["settings"]},
                "parameter_bytes": facts["parameter_bytes"],
                "multiply_adds": facts["multiply_adds"],
                "call_multiply_adds": facts["call_multiply_adds"],
                "moved_bytes": facts["moved_bytes"],
                "peak_bytes": facts["peak_bytes"],
                "predicted_bytes": facts["predicted_bytes"],
                "floor_seconds": rates.floor(work),
                "rates": rates.document,
                "match": self.match,
            },
            "provenance": self.provenance(taken),
        }

    def provenance(self, taken: _Taken) -> dict[str, Any]:
        cell = taken.cell
        strategies = {r["strategy"] for r in taken.rounds}
        return {
            **environment(torch.device("cpu")),
            "source": {"baseline": source_digest(cell.load_baseline())},
            "threads": cell.threads,
            "device": cell.device,
            "gpu": {"name": cell.hardware, **(gpu.state() or {})} if cell.device != "cpu" else None,
            "strategy": strategies.pop() if len(strategies) == 1 else None,
            "kernels": kernels.enabled(),
            "float32_matmul_precision": "highest",
            **hardware_facts(),
        }

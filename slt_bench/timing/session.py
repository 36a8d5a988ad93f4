"""A session: rounds of fresh processes, dense and its copy in each."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from slt_bench import running
from slt_bench.provenance import utc_now
from slt_bench.store import Store
from slt_bench.timing import gpu, jobs, noise
from slt_bench.timing.cell import Cell
from slt_bench.timing.rows import Row, conclude
from slt_bench.timing.state import Plan, State, StateFile, Taken
from slt_bench.timing.worker import Worker


class Watcher:
    """Is told how a session goes on, between measurements and never during one.

    This one says nothing: override what is to be shown.
    """

    def say(self, text: str) -> None:
        """Why it waits, or what failed."""

    def resumed(self, complete: int, rounds: int, finished: str) -> None:
        """A session goes on; ``finished`` is when its last round was complete (UTC), or empty."""

    def began(self, phase: str, processes: int) -> None:
        """``phase``: "facts" or "round 3 of 10"."""

    def process(self, label: str) -> None:
        """The next process of the phase begins."""

    def ended(self, phase: str, seconds: float, remaining: float | None) -> None:
        """``remaining``: seconds that the rounds to come will take; None where not known."""


class Stopped(RuntimeError):
    """The rounds that were asked for are complete, and more are to come."""


def measure(
    cells: Sequence[Cell],
    store: Store,
    plan: Plan,
    watch: Watcher | None = None,
    *,
    match: str | None = None,
) -> list[Row]:
    """Measure the cells and publish their records.

    Every group of cells (one shape, batch, mode, device, ...) should hold dense and its copy:
    ratios are to the dense of the same round. ``match`` is kept in the records: the budget that
    the settings were solved for.

    After every round the state of the session is written beside the checkpoints. The same call
    goes on from it, however the one before has ended. The file goes away with the session, unless
    rows are too noisy to be published: with ``allow_noisy`` the same call publishes them, without
    it measures anew.

    Raises:
        Busy: another timing is running.
        Noisy: the machine did not become quiet; nothing is published.
        Stopped: ``stop_after`` rounds are complete.
    """
    store.check_writable()
    watch = watch or Watcher()
    last = min(plan.rounds, plan.stop_after or plan.rounds)
    file = StateFile.of(store, cells, plan, match)
    with running.timing():
        state = file.read()
        if state is None or (state.complete == plan.rounds and not plan.allow_noisy):
            state = State()
        else:
            watch.resumed(state.complete, plan.rounds, state.finished)
        if state.complete < last:
            store.make_checkpoints()
            # Before anything is started, so that a loaded machine is refused at once.
            _wait_for_quiet(noise.Meter(time.process_time), plan, watch, state)
            with Worker() as worker:
                _Session(cells, plan, watch, worker, state, file).run(last)
    if state.complete < plan.rounds:
        raise Stopped(f"stopped after round {state.complete} of {plan.rounds}")
    rows = conclude(cells, state, plan, match)
    for row in rows:
        if row.record["status"] != "done":
            store.publish_failure(row.record)
        elif row.published:
            store.publish(row.record)
    if all(row.published or not row.noisy for row in rows):
        file.remove()
    return rows


def _wait_for_quiet(meter: noise.Meter, plan: Plan, watch: Watcher, state: State) -> float | None:
    """Wait for a quiet machine; returns what others used then."""
    window = plan.protocol.window
    try:
        return noise.wait_for_quiet(meter, window, plan.patience, plan.allow_noisy, watch.say)
    except noise.Noisy as error:
        if not state.complete:
            raise
        kept = f"the first {state.complete} of {plan.rounds} rounds are kept"
        raise noise.Noisy(f"{error}; {kept}, and the same command goes on") from None


class _Session:
    """Fills a state, round by round."""

    def __init__(
        self,
        cells: Sequence[Cell],
        plan: Plan,
        watch: Watcher,
        worker: Worker,
        state: State,
        file: StateFile,
    ) -> None:
        self.cells, self.plan, self.watch, self.worker = cells, plan, watch, worker
        self.state, self.file = state, file
        self.meter = noise.Meter(lambda: self.worker.own_seconds)
        self.on_gpu = any(cell.device != "cpu" for cell in cells)

    def run(self, last: int) -> None:
        """Up to and with round ``last``."""
        if not self.state.machines:
            self.gather_facts()
        for number in range(self.state.complete + 1, last + 1):
            self.round(number)

    def gather_facts(self) -> None:
        """Sizes, memory, the machine: once a session, apart from what is timed."""
        start = time.monotonic()
        machines = {cell.machine: cell for cell in self.cells}
        self.watch.began("facts", len(self.cells) + len(machines))
        for cell in self.cells:
            self.watch.process(cell.label)
            found = self.worker.run(jobs.facts, cell)
            failure = None if found["status"] == "done" else found
            self.state.taken[cell.key] = Taken(found, failure=failure)
            if failure:
                self.watch.say(f"{cell.label}: {failure['status']}: {failure['message']}")
        for name, cell in machines.items():
            self.watch.process(f"rates of {name}")
            found = self.worker.run(
                jobs.machine, cell.device, cell.threads, cell.dtype, self.plan.protocol
            )
            if found["status"] != "done":
                raise RuntimeError(f"the rates of the floor: {found['message']}")
            self.state.machines[name] = found
        self.file.write(self.state)
        self.watch.ended("facts", time.monotonic() - start, None)

    def round(self, number: int) -> None:
        """Every cell once, each in a fresh process; groups and cells in a shuffled order.

        A group stays together: what drifts over minutes is the same for a layer and its dense.
        """
        state, phase = self.state, f"round {number} of {self.plan.rounds}"
        groups = self.groups()
        before = _wait_for_quiet(self.meter, self.plan, self.watch, state)
        start = time.monotonic()
        card = self.card()
        self.watch.began(phase, sum(map(len, groups)))
        shuffle = random.Random(f"round {number}").shuffle
        shuffle(groups)
        found: dict[str, dict[str, Any]] = {}
        during: dict[str, float | None] = {}
        for position, group in enumerate(groups):
            shuffle(group)
            self.meter.restart()
            for cell in group:
                found[cell.key] = {"round": number, "position": position, **self.once(cell)}
            during[group[0].group_key] = self.meter.others()
        # All at once: what ends this process in the midst of a round leaves no half of it.
        state.add(found, before, during)
        if self.on_gpu:
            state.cards.append({"before": card, "after": self.card()})
        state.seconds.append(time.monotonic() - start)
        state.complete, state.finished = number, utc_now()
        self.file.write(state)
        left = self.plan.rounds - number
        mean = sum(state.seconds) / len(state.seconds) + self.plan.protocol.window
        self.watch.ended(phase, state.seconds[-1], left * mean)

    def once(self, cell: Cell) -> dict[str, Any]:
        self.watch.process(cell.label)
        found = self.worker.run(jobs.measure, cell, self.plan.protocol)
        if found["status"] != "done":
            self.watch.say(f"{cell.label}: {found['status']}: {found['message']}")
        return found

    def groups(self) -> list[list[Cell]]:
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            if self.state.taken[cell.key].failure is None:
                found.setdefault(cell.group_key, []).append(cell)
        return list(found.values())

    def card(self) -> dict[str, Any] | None:
        """The state of the GPU and the processes on it."""
        return {"state": gpu.state(), "others": gpu.other_processes()} if self.on_gpu else None

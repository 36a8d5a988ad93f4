"""Sessions of timing for tests: small cells, a quick plan, a worker that measures nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slt_bench import running
from slt_bench.timing import jobs, noise
from slt_bench.timing.cell import Cell
from slt_bench.timing.floor import Rates
from slt_bench.timing.sampling import Protocol
from slt_bench.timing.session import Watcher
from slt_bench.timing.state import Plan
from slt_bench.timing.worker import Worker

LAYERS = Path(__file__).parent / "plugins" / "timed_layers.py"
QUICK = Protocol(warm_up_seconds=0.0, samples=3, seconds=0.0, spread=1e9, cap=0.01, window=0.01)
PLAN = Plan(rounds=2, patience=0.0, allow_noisy=True, protocol=QUICK)


def cell(baseline: str = "dense", **more: Any) -> Cell:
    """A cell of 16 features; a capital letter starts a class of ``plugins/timed_layers.py``."""
    source = f"{LAYERS}:{baseline}" if baseline[0].isupper() else ""
    values = {"settings": {}, "shape": (16, 16), "batch": 4, "mode": "forward",
              "baseline_source": source, **more}  # fmt: skip
    return Cell(baseline, **values)


@pytest.fixture(autouse=True, scope="module")
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Import it, and nothing else that runs on this machine is waited for or hindered."""
    folder = tmp_path_factory.mktemp("locks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "_folder", lambda: folder)
        yield


def quiet(monkeypatch: pytest.MonkeyPatch, shares: Iterable[float]) -> None:
    """Let the machine be as busy as ``shares`` say, one a reading."""
    left = iter(shares)
    monkeypatch.setattr(noise.Meter, "others", lambda self: next(left))


class FakeWorker(Worker):
    """Measures nothing: every time is 1 s, that of dense's copy 1.5 s from its second one on.

    ``asked``: the cells in the order in which they were asked for; ``started``: how many workers
    were. ``interrupt_at``, ``kill_at``: what the so manieth measurement does instead.
    """

    asked: list[Cell]
    started: int
    interrupt_at: int | None
    kill_at: int | None
    used = 0.0

    @classmethod
    def reset(cls) -> None:
        cls.asked, cls.started = [], 0
        cls.interrupt_at = cls.kill_at = None

    def __enter__(self) -> FakeWorker:
        type(self).started += 1
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, job: Any, *arguments: Any) -> dict[str, Any]:
        if job is jobs.machine:
            rates = Rates({1: 1.0}, 1.0).document
            return {"status": "done", "rates": rates, "environment": {"torch": "2"}}
        if job is jobs.facts:
            names = ("parameter_count", "parameter_bytes", "multiply_adds", "moved_bytes",
                     "call_multiply_adds", "peak_bytes", "predicted_bytes")  # fmt: skip
            return {"status": "done", "settings": {}, **dict.fromkeys(names, 1)}
        self.asked.append(arguments[0])
        if len(self.asked) == self.interrupt_at:
            raise KeyboardInterrupt
        if len(self.asked) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        late = arguments[0].copy and sum(one.copy for one in self.asked) > 1
        measures = {"call": {"median": 1.5 if late else 1.0}}
        return {"status": "done", "measures": measures, "setup_ms": 1.0, "strategy": None,
                "finished": "2026-01-31T23:59:59Z"}  # fmt: skip


class Heard(Watcher):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.phases: list[tuple[str, int]] = []
        self.ends: list[tuple[str, bool]] = []
        self.processes: list[str] = []
        self.resumptions: list[tuple[int, int]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def resumed(self, complete: int, rounds: int, finished: str) -> None:
        assert bool(finished) == bool(complete)
        self.resumptions.append((complete, rounds))

    def began(self, phase: str, processes: int) -> None:
        self.phases.append((phase, processes))

    def process(self, label: str) -> None:
        self.processes.append(label)

    def ended(self, phase: str, seconds: float, remaining: float | None) -> None:
        assert seconds >= 0
        self.ends.append((phase, bool(remaining)))

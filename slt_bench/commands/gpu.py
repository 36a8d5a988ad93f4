"""The verb ``gpu``: all that needs a GPU, in a given number of minutes, into one archive.

For a machine that is lent for minutes and has no network: the GPU tests, the timings, then trials
of the suites. The archive is whole after each record, so that a cut-off loses nothing finished.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch

import slt_bench
from slt_bench import datasets
from slt_bench.archive import Archive
from slt_bench.commands import trials as trials_verb
from slt_bench.commands.cells import TimeRequest, expand
from slt_bench.commands.values import Document, check_device
from slt_bench.errors import UsageError
from slt_bench.planning import due, plan
from slt_bench.provenance import environment
from slt_bench.running import Busy
from slt_bench.store import Store
from slt_bench.suites import load_suite
from slt_bench.timing import gpu as card
from slt_bench.timing import session, worker
from slt_bench.timing.cell import Cell
from slt_bench.timing.estimate import expected
from slt_bench.timing.noise import Noisy
from slt_bench.timing.rows import DETERMINED
from slt_bench.timing.sampling import Protocol
from slt_bench.timing.state import Plan
from slt_bench.trial import Trial

#: MODE:SHAPE:BATCH of what is timed, the most telling first. What has its records is passed over,
#: so that the next session goes on where this one ended.
GROUPS = (
    *("forward:1024:64", "training:1024:64", "sequence:512:64"),
    *("forward:4096:64", "forward:256:64", "forward:16384:64", "forward:1024:1"),
    *("training:4096:64", "training:256:64", "training:16384:64"),
    *("sequence:1024:64", "sequence:256:64", "sequence:512:1"),
    *("forward:4096:1", "forward:256:1", "forward:16384:1", "training:1024:1"),
)
#: SUITE:BUDGET of the trials: those that take seconds or minutes first.
SUITES = (
    *("table1:paper", "figure4:paper", "table2:third", "table2:paper"),
    *("table4:third", "table3:third", "table4:paper", "table3:paper"),
)
#: As for every table, but that samples of the call latency which do not agree within a second are
#: marked as such and not waited for: on a lent machine more rows are worth more.
PROTOCOL = Protocol(cap=1.0)

#: Baselines that are timed together with dense and its copy.
_PART = 4
#: Shares of the time by which the tests, and the timings, have ended.
_TESTS, _TIMINGS = 0.2, 0.4
#: Share, and most seconds, that are kept back for the last checkpoint and the archive.
_CLOSING, _CLOSING_SECONDS = 0.05, 20.0
#: Seconds that a trial needs to get anywhere.
_LEAST_SECONDS = 5.0


@dataclass(frozen=True)
class Work:
    """What a session does and with what: every step reads it.

    Attributes:
        groups, suites: ``MODE:SHAPE:BATCH`` and ``SUITE:BUDGET``, in the order of doing.
        data: the folder in which data sets are sought first.
        tests: the folder of the tests; None: the one of this checkout.
    """

    store: Store
    archive: Archive
    start: float
    seconds: float
    device: str
    groups: Sequence[str]
    suites: Sequence[tuple[str, str]]
    data: str | None
    rounds: int
    protocol: Protocol
    tests: Path | None

    def left(self, share: float = 1.0) -> float:
        """Seconds until a share of the time is used; the closing ones are no part of it."""
        closing = min(_CLOSING_SECONDS, _CLOSING * self.seconds)
        return self.start + share * (self.seconds - closing) - time.monotonic()


@dataclass(frozen=True)
class Line:
    """How one thing ended: GPU tests, a group of timings, the trials of a suite."""

    step: str
    what: str
    status: str
    failed: bool = False


def run(
    store: Store,
    archive: str,
    *,
    minutes: float,
    device: str = "cuda",
    data: str | None = None,
    groups: Sequence[str] = GROUPS,
    suites: Sequence[str] = SUITES,
    rounds: int = 10,
    protocol: Protocol = PROTOCOL,
    tests: Path | None = None,
) -> Document:
    """Do what the time allows, and say how each part ended.

    Exit codes: 0, also where the time ran out; 1 a test, a timing or a trial failed.

    Raises:
        UsageError: a name that does not exist, no such device, or an archive that cannot be
            written.
    """
    start = time.monotonic()
    check_device(device)
    for group in groups:
        _cells(group, device)
    waves = [_suite(text) for text in suites]  # whatever is wrong is said now
    os.environ["SLT_BENCH_OFFLINE"] = "1"  # a mirror that does not answer would take minutes
    os.environ.update(worker.ENVIRONMENT)  # for the engine's processes too
    store.check_writable()
    kept = Archive(Path(archive).expanduser(), store)
    work = Work(
        store=store,
        archive=kept,
        start=start,
        seconds=60 * minutes,
        device=device,
        groups=groups,
        suites=waves,
        data=data,
        rounds=rounds,
        protocol=protocol,
        tests=tests,
    )
    kept.add("environment.json", json.dumps(_environment(work), indent=1) + "\n")
    ended: list[Line] = []
    for name, step in (("tests", _test), ("timings", _time), ("trials", _train)):
        try:
            for line in step(work):
                say(f"{line.step}: {line.what}: {line.status}")
                ended.append(line)
        except Exception as error:  # whatever a driver does: the next step may work all the same
            say(traceback.format_exc())
            ended.append(Line(name, "the step", f"{type(error).__name__}: {error}", failed=True))
        finally:
            kept.update()
    return {
        "steps": [vars(line) for line in ended],
        "archive": str(kept.path),
        "record_count": kept.record_count,
        "seconds": time.monotonic() - start,
        "exit_code": int(any(line.failed for line in ended)),
    }


def lines(document: Document) -> Iterator[str]:
    """A document of :func:`run` for people."""
    for line in document["steps"]:
        yield f"{line['step']}: {line['what']}: {line['status']}"
    file = document["archive"]
    yield f"{file}: {document['record_count']} records; 'slt-bench merge {file}' takes them in"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _environment(work: Work) -> dict[str, Any]:
    return {
        **environment(torch.device(work.device)),
        "card": card.state() if work.device == "cuda" else None,
        "minutes": work.seconds / 60,
        "groups": list(work.groups),
        "suites": [f"{name}:{budget}" for name, budget in work.suites],
    }


# Tests -----------------------------------------------------------------------------------------


def _test(work: Work) -> Iterator[Line]:
    """The tests marked ``gpu``, in a process of their own; what they print is ``tests.txt``."""
    root = Path(slt_bench.__file__).resolve().parent.parent
    files = [
        path
        for path in sorted((work.tests or root / "tests").glob("test_*.py"))
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
    ]
    line = partial(Line, "tests", "marked gpu")
    if importlib.util.find_spec("pytest") is None:
        yield line("not run: pytest is not installed")
    elif not files:
        yield line("not run: this installation has no tests; run it in the repository")
    else:
        with tempfile.TemporaryFile("w+") as output:
            problem = _pytest(files, root, work.left(_TESTS), output)
            output.seek(0)
            text = output.read().rstrip()
        work.archive.add("tests.txt", f"{text}\n{problem}\n")
        summary = text.rpartition("\n")[2].strip("= ")
        yield line(f"{problem}: {summary}" if problem else summary, failed=bool(problem))


def _pytest(files: Sequence[Path], root: Path, seconds: float, output: IO[str]) -> str:
    """Run test files; returns what went wrong, if anything did."""
    config = ["-c", str(root / "pyproject.toml"), "-p", "no:cacheprovider"]
    # Not the options of pyproject.toml: they need a plugin that a bare machine may lack.
    options = ["-m", "gpu", "-o", "addopts=", "-ra", "--continue-on-collection-errors"]
    command = [sys.executable, "-m", "pytest", *config, *options, *map(str, files)]
    places = os.pathsep.join(os.path.abspath(place) for place in sys.path if place)
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "PYTHONPATH": places},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=max(seconds, 1.0),
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} s"
    return f"failed with exit code {done.returncode}" if done.returncode else ""


# Timings ---------------------------------------------------------------------------------------


GIVEN_UP = "given up, it would not end in time: the same command goes on from here"


class _OutOfTime(Exception):
    pass


def _cells(group: str, device: str) -> list[Cell]:
    """The cells of ``MODE:SHAPE:BATCH``: every baseline, dense and its copy."""
    if group.count(":") != 2:
        raise UsageError(f"group {group!r}: give MODE:SHAPE:BATCH, e.g. forward:1024:64")
    mode, shape, batch = group.split(":")
    request = TimeRequest(modes=[mode], shapes=[shape], batches=[batch], devices=[device])
    return expand(request)[0]


def _parts(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """A few baselines at a time, dense and its copy with each of them."""
    dense = [cell for cell in cells if cell.baseline == "dense"]
    others = [cell for cell in cells if cell.baseline != "dense"]
    for first in range(0, max(1, len(others)), _PART):
        yield dense + others[first : first + _PART]


def _time(work: Work) -> Iterator[Line]:
    """Part after part of each group, as long as the next should end in the timings' share.

    The first is started wherever it should end at all. How long one takes is expected from its
    cells, and corrected by how long the one before took.
    """
    correction, share = 1.0, 1.0
    for group in work.groups:
        for part in _parts(_cells(group, work.device)):
            names = dict.fromkeys(cell.baseline for cell in part)
            line = partial(Line, "timings", f"{group} {', '.join(names)}")
            needed = expected(part, work.rounds, work.protocol).most
            if all(_settled(work.store, cell) for cell in part):
                yield line("its records are here already")
            elif correction * needed > work.left(share):
                yield line(f"not started: it takes about {correction * needed:.0f} s")
            else:
                start = time.monotonic()
                yield line(*_measured(work, part))
                correction, share = (time.monotonic() - start) / needed, _TIMINGS
                work.archive.update()


def _settled(store: Store, cell: Cell) -> bool:
    if store.read(cell.identity, cell.key) is not None:
        return True
    failure = store.read_failure(cell.identity, cell.key)
    return failure is not None and failure["status"] in DETERMINED


class _Watch(session.Watcher):
    """Says how a timing goes on, and gives it up where it would not end in time."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def say(self, text: str) -> None:
        say(text)

    def resumed(self, complete: int, rounds: int, finished: str) -> None:
        say(f"going on after round {complete} of {rounds}")

    def process(self, label: str) -> None:
        if self.work.left() <= 0:
            raise _OutOfTime

    def ended(self, phase: str, seconds: float, remaining: float | None) -> None:
        say(f"{phase}: {seconds:.1f} s")
        if (remaining or 0.0) > self.work.left():
            raise _OutOfTime


def _measured(work: Work, cells: Sequence[Cell]) -> tuple[str, bool]:
    """Measure one part; noisy rows are published with their mark, so that none is lost."""
    plan = Plan(work.rounds, 0.0, allow_noisy=True, protocol=work.protocol)
    try:
        rows = session.measure(cells, work.store, plan, _Watch(work))
    except _OutOfTime:
        return GIVEN_UP, False
    except (Noisy, Busy) as error:
        return f"refused: {error}", True
    counts = Counter(row.record["status"] for row in rows)
    noisy = sum(bool(row.noisy) for row in rows)
    text = ", ".join(f"{count} {status}" for status, count in counts.items())
    marked = f", {noisy} of them noisy" if noisy else ""
    return text + marked, bool(set(counts) - {"done", *DETERMINED})


# Trials ----------------------------------------------------------------------------------------


def _suite(text: str) -> tuple[str, str]:
    """``SUITE:BUDGET``, checked; without a budget the suite's own."""
    name, colon, budget = text.rpartition(":")
    if not colon:
        name, budget = budget, ""
    suite = load_suite(name)
    budget = budget or suite.budget
    suite.cells(budget, seeds=[0])
    return name, budget


def _train(work: Work) -> Iterator[Line]:
    """The trials of suite after suite, until the time is over."""
    for name, budget in work.suites:
        trials, lacking = _with_data(load_suite(name).trials(budget), work.data)
        planned = plan(trials, work.store)
        line = partial(Line, "trials", f"{name}:{budget}")
        note = f"; no data: {', '.join(lacking)}" if lacking else ""
        if due(planned) and work.left() < _LEAST_SECONDS:
            yield line(f"{len(due(planned))} not started: the time is over{note}")
            continue
        with work.archive.kept_up_to_date(say):
            settings = trials_verb.Settings(
                device=work.device, data=work.data, time_limit=max(0.0, work.left())
            )
            document = trials_verb.execute(planned, work.store, settings)
        counts = Counter(row["status"] for row in document["trials"])
        text = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"
        if counts["stopped"]:
            checkpoints = work.store.checkpoints
            text += f"; the checkpoints are in {checkpoints}, not in the archive"
        yield line(text + note, document["exit_code"] == 1)


def _with_data(trials: Sequence[Trial], folder: str | None) -> tuple[list[Trial], list[str]]:
    """The trials whose data is on this machine, and the names of the data sets that are not."""
    lacking = []
    for name in sorted({trial.dataset for trial in trials} & set(datasets.names())):
        try:
            datasets.fetch(name, folder)
        except datasets.DataUnavailable:
            lacking.append(name)
    return [trial for trial in trials if trial.dataset not in lacking], lacking

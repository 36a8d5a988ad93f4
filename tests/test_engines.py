"""Engines: a fresh process a trial, deadlines, crashes, retries, and stopping in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slt_bench import kernels
from slt_bench.engines import NAMES, Order, load_engine
from slt_bench.errors import UsageError
from slt_bench.kernels import _measured
from slt_bench.store import Store
from slt_bench.trial import Trial, matrix

FAULTY = Path(__file__).parent / "plugins" / "faulty_layers.py"


class Log:
    """A watcher that remembers."""

    def __init__(self):
        self.events = []

    def preparing(self, text):
        pass

    def log(self, text):
        self.events.append(("log", text))

    def started(self, trial):
        self.events.append(("started", trial.key))

    def progress(self, trial, done, total, loss):
        pass

    def finished(self, trial, ending, seconds):
        self.events.append((ending.status, trial.key))

    def count(self, what):
        return sum(event == what for event, _ in self.events)


@pytest.fixture
def trial(toy_task, toy_layer):
    def trial(baseline=toy_layer, **given):
        return Trial.create(toy_task, baseline, **given)

    return trial


@pytest.fixture
def engine():
    return load_engine("local")


@pytest.mark.parametrize("name", NAMES)
def test_every_engine_publishes_the_same_metrics(name, toy_task, toy_layer, tmp_path):
    trials = matrix([toy_task], ["dense", toy_layer], seeds=(0, 1))
    log = Log()
    found = load_engine(name)(trials, Order(reports=tmp_path / name, jobs=2), log)
    assert {ending.status for ending in found.values()} == {"done"}
    assert log.count("started") == log.count("done") == 4
    load_engine("inline")(trials, Order(reports=tmp_path / "reference"), Log())
    for one in trials:
        a, b = (Store(tmp_path / f).read(one.identity, one.key) for f in (name, "reference"))
        assert a["metrics"] == b["metrics"]


def test_one_bad_trial_does_not_touch_the_others(engine, trial, tmp_path):
    bad, good = trial(f"{FAULTY}:Killed"), trial()
    found = engine([bad, good], Order(reports=tmp_path, jobs=2), Log())
    assert found[good.key].status == "done"
    assert found[bad.key].status == "crashed"
    assert "SIGKILL" in found[bad.key].message
    store = Store(tmp_path)
    assert store.read_failure(bad.identity, bad.key)["status"] == "crashed"


def test_a_hanging_trial_meets_its_deadline(engine, trial, tmp_path):
    one = trial(f"{FAULTY}:Hanging")
    start = time.monotonic()
    found = engine([one], Order(reports=tmp_path, timeout=2.0), Log())
    assert found[one.key].status == "timeout"
    assert "--timeout" in found[one.key].message
    assert time.monotonic() - start < 60


def test_a_crash_is_tried_again_as_often_as_asked(engine, trial, tmp_path):
    one = trial(f"{FAULTY}:KilledOnce", settings={"mark": str(tmp_path / "mark")})
    log = Log()
    found = engine([one], Order(reports=tmp_path, retries=2), log)
    assert found[one.key].status == "done"
    assert [event for event, _ in log.events] == ["started", "crashed", "started", "done"]
    assert list(Store(tmp_path).failures()) == []


def test_what_the_trial_determines_is_not_tried_again(engine, trial, tmp_path):
    log = Log()
    trials = [trial(f"{FAULTY}:Exploding"), trial(f"{FAULTY}:Refusing")]
    engine(trials, Order(reports=tmp_path, retries=3), log)
    assert log.count("started") == 2


def test_the_time_limit_stops_at_a_checkpoint_and_the_rest_goes_on(engine, trial, tmp_path):
    trials = [trial(seed=s, options={"updates": 60, "pause": 0.1}) for s in (0, 1)]
    limited = Order(reports=tmp_path, deadline=time.monotonic() + 4)
    found = engine(trials, limited, Log())
    assert {ending.status for ending in found.values()} == {"stopped"}
    assert len(found) == 1
    store = Store(tmp_path)
    assert store.checkpoint(trials[0].key).exists()
    found = engine(trials, Order(reports=tmp_path, jobs=2), Log())
    assert [found[t.key].status for t in trials] == ["done", "done"]


def test_strategies_are_measured_before_the_first_trial(toy_task, tmp_path, monkeypatch):
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)
    options = {"updates": 2, "test_size": 40}
    trials = [Trial.create("adding", seed=s, budget="smoke", options=options) for s in (0, 1)]
    trials.append(Trial.create(toy_task))  # has nothing to prepare
    for expected in (3, 0):  # training, validation (250 rows), test (40 rows); then all is known
        log = Log()
        load_engine("inline")(trials, Order(reports=tmp_path), log)
        events = [event for event, _ in log.events]
        measured = [text for event, text in log.events if event == "log" and "measured GRU" in text]
        assert len(measured) == expected
        assert events.index("started") > events.count("log") - 1
        assert "log" not in events[events.index("started") :]
    assert log.count("done") == 3
    record = Store(tmp_path).read(trials[0].identity, trials[0].key)
    cases = record["provenance"]["picks"]["gru"]
    assert set(cases) == {
        "training, 8 steps x 50",
        "inference, 8 steps x 250",
        "inference, 8 steps x 40",
    }
    assert all({"scan", "eager"} <= set(pick["milliseconds"]) for pick in cases.values())
    assert record["provenance"]["kernels"] == kernels.kernel_facts()
    _measured._known.clear()


KERNELS = """
import os, sys
from pathlib import Path
from slt_bench import kernels
from slt_bench.engines import Order, load_engine
from slt_bench.trial import Trial

class Told:
    def preparing(self, text): pass
    def log(self, text): print("log", text, flush=True)
    def started(self, trial): print("started", flush=True)
    def progress(self, *rest): pass
    def finished(self, trial, ending, seconds): print(ending.status, flush=True)

if __name__ == "__main__":
    options = {"updates": 4}
    trials = [Trial.create("adding", "fastfood", budget="smoke", options=options, seed=s)
              for s in (0, 1)]
    load_engine("local")(trials, Order(reports=Path(sys.argv[1]), jobs=2), Told())
    print("built here", kernels.preparation_seconds(), flush=True)
"""


@pytest.mark.skipif(not kernels.kernel_facts()["compiler"], reason="needs a C compiler")
def test_kernels_are_built_in_a_process_of_their_own_before_any_trial(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(KERNELS)
    environment = {**os.environ, "SLT_BENCH_KERNEL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], env=environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    lines = done.stdout.splitlines()
    assert all(line.startswith("log building") for line in lines[:3])  # layer, fastfood, sequence
    assert lines[3:] == ["started", "started", "done", "done", "built here 0.0"]
    assert "building" not in done.stderr


SCRIPT = """
import sys
from pathlib import Path
from slt_bench.engines import Order, load_engine
from slt_bench.trial import Trial

class Quiet:
    def preparing(self, text): pass
    def log(self, text): pass
    def started(self, trial): print("started", flush=True)
    def progress(self, *rest): pass
    def finished(self, *rest): pass

if __name__ == "__main__":
    task, reports = sys.argv[1:]
    trials = [Trial.create(task, seed=s, options={"updates": 600, "pause": 0.1}) for s in (0, 1)]
    load_engine("local")(trials, Order(reports=Path(reports), jobs=2), Quiet())
"""


def workers_of(marker: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if marker.encode() in environment:
            found.append(int(folder.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_workers_die_with_their_parent(toy_task, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    marker = f"SLT_BENCH_TEST_MARK={tmp_path}"
    environment = {**os.environ, "SLT_BENCH_TEST_MARK": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, str(script), toy_task, str(tmp_path / "reports")],
        env=environment,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    for _ in range(2):
        assert parent.stdout.readline() == b"started\n"
    time.sleep(1)
    assert len(workers_of(marker)) >= 3
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while workers_of(marker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers_of(marker) == []


def test_an_unknown_engine():
    with pytest.raises(UsageError, match="did you mean 'local'"):
        load_engine("locl")

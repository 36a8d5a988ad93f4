"""Fresh processes, the noise gate and the records of a session. No time is asserted."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import pytest
from timing_sessions import (  # noqa: F401 - a fixture for all
    PLAN,
    QUICK,
    FakeWorker,
    cell,
    own_locks,
    quiet,
)

from slt_bench.store import Store
from slt_bench.timing import noise, session
from slt_bench.timing.session import Stopped, measure
from slt_bench.timing.worker import Worker


def pid():
    return {"status": "done", "pid": os.getpid(), "parent": os.getppid()}


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return {"status": "done"}


# Processes -------------------------------------------------------------------------------------


def test_every_job_has_a_process_of_its_own_and_its_time_is_known():
    with Worker() as worker:
        found = [worker.run(pid) for _ in range(3)]
        assert len({f["pid"] for f in found} | {os.getpid()}) == 4
        assert {f["parent"] for f in found} == {worker.process.pid}
        assert worker.run(os._exit, 7)["message"].endswith("exit code 7 and no result")
        assert worker.run(os.abort)["message"] == "the process was ended by SIGABRT"
        blind = noise.Meter(lambda: 0.0)
        meter = noise.Meter(lambda: worker.own_seconds)
        before = worker.own_seconds
        assert worker.run(burn, 0.5)["status"] == "done"
        assert worker.own_seconds - before > 0.45
        everything, others = blind.others(), meter.others()
        if others is not None:  # what this tool burnt is no work of others
            assert everything - others > 0.1
        worker.connection.send((burn, (600.0,)))
        start = time.monotonic()
    assert time.monotonic() - start < 300  # the server ended with a job that still ran
    assert worker.process.exitcode == 0


# The noise gate --------------------------------------------------------------------------------

LOAD = "print('on', flush=True)\nwhile True: pass"


@pytest.fixture
def load():
    """As many busy processes as the machine has cores."""
    command = [sys.executable, "-c", LOAD]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    for process in processes:
        process.stdout.readline()
    yield
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.skipif(noise.busy_seconds() is None, reason="the system has no /proc/stat")
class TestLoad:
    def test_the_work_of_others_is_seen(self, load):
        meter = noise.Meter(time.process_time)
        time.sleep(0.5)
        assert meter.others() > 0.5

    def test_a_loaded_machine_is_refused_and_says_why(self, load, tmp_path):
        plan = dataclasses.replace(
            PLAN, allow_noisy=False, protocol=dataclasses.replace(QUICK, window=0.5)
        )
        with pytest.raises(noise.Noisy, match=r"other processes used \d+% of the cores' time in"):
            measure([cell(), cell(copy=True)], Store(tmp_path), plan)
        assert not list(tmp_path.rglob("*.json"))


def test_it_waits_for_quiet(monkeypatch):
    quiet(monkeypatch, [0.5, 0.11, 0.1])
    said = []
    meter = noise.Meter(lambda: 0.0)
    assert noise.wait_for_quiet(meter, 0.0, 60.0, False, said.append) == 0.1
    assert said == ["waiting up to 60 s: other processes used 50% of the cores' time in the last "
                    "0 s"]  # fmt: skip
    quiet(monkeypatch, [0.5])
    assert noise.wait_for_quiet(meter, 0.0, 0.0, True, said.append) == 0.5


def test_a_running_matrix_is_refused_even_where_noise_is_allowed(monkeypatch):
    monkeypatch.setattr(noise, "matrix_runs", lambda: True)
    quiet(monkeypatch, [0.0] * 3)
    with pytest.raises(noise.Noisy, match="a matrix of slt-bench is running"):
        noise.wait_for_quiet(noise.Meter(lambda: 0.0), 0.0, 0.0, True, lambda text: None)
    answers = iter([True, False])
    monkeypatch.setattr(noise, "matrix_runs", lambda: next(answers))
    noise.wait_for_quiet(noise.Meter(lambda: 0.0), 0.0, 60.0, False, lambda text: None)


def test_reasons_are_given_in_words():
    assert noise.reasons([1.0, 1.01, 1.02, 1.0], [0.1, None], [0.05, 0.1]) == []
    spread, before, during = noise.reasons([1.0, 1.2, 1.4, 1.6], [0.0, 0.3], [0.11, 0.2])
    assert spread == "the ratios to dense spread by 23% (interquartile)"
    assert before.endswith("30% of the cores' time at worst, before 1 of 2 rounds")
    assert during.endswith("20% of the cores' time at worst, during 2 of 2 rounds")


@pytest.fixture
def fake_worker(monkeypatch):
    FakeWorker.reset()
    monkeypatch.setattr(session, "Worker", FakeWorker)
    return FakeWorker


def test_a_noisy_row_is_not_published(monkeypatch, tmp_path, fake_worker):
    monkeypatch.setattr(noise.Meter, "others", lambda self: 0.0)
    plan = dataclasses.replace(PLAN, allow_noisy=False)
    dense, copy = measure([cell(), cell(copy=True)], Store(tmp_path), plan)
    assert dense.published
    assert not copy.published
    assert copy.noisy == ("the ratios to dense spread by 20% (interquartile)",)
    assert [r["key"] for r in Store(tmp_path).records("time")] == [dense.cell.key]


def test_a_noisy_row_is_kept_with_its_mark_when_allowed(monkeypatch, tmp_path, fake_worker):
    quiet(monkeypatch, [0.0, 0.0, 0.2, 0.3, 0.0])  # at the start; before and during each round
    measure([cell(), cell(copy=True)], Store(tmp_path), PLAN)
    for record in Store(tmp_path).records("time"):
        marks = [text[-27:] for text in record["timing"]["noisy"]]
        assert marks[-2:] == ["worst, before 1 of 2 rounds", "worst, during 1 of 2 rounds"]
        assert record["timing"]["others_before"] == [0.0, 0.3]
        assert record["timing"]["others_during"] == [0.2, 0.0]


# Sessions --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("session"))
    cells = [
        cell(), cell(copy=True), cell("Slowed"), cell("Refusing"), cell("Dying"), cell("Sloppy"),
        cell("Grasping"), cell(mode="training"), cell("Penalised", mode="training"),
        cell("dense", shape=(2**20, 2**20)), cell("low_rank", shape=(24, 24)),
    ]  # fmt: skip
    with pytest.raises(Stopped):  # so that the state has been written and read
        measure(cells, store, dataclasses.replace(PLAN, stop_after=1))
    return store, {row.cell.key: row for row in measure(cells, store, PLAN)}


def test_every_round_pairs_a_rival_with_dense(rows):
    store, by_key = rows
    dense, rival = by_key[cell().key].record, by_key[cell("Slowed").key].record
    medians = [r["measures"]["call"]["median"] for r in dense["timing"]["rounds"]]
    assert [r["dense"]["call"] for r in rival["timing"]["rounds"]] == medians
    assert all(len(r["measures"]["call"]["samples"]) for r in rival["timing"]["rounds"])
    assert store.read(rival["trial"], rival["key"]) == rival
    assert [r["round"] for r in rival["timing"]["rounds"]] == [1, 2]
    assert [r["round"] for r in dense["timing"]["rounds"]] == [1, 2]
    assert not list(store.checkpoints.glob("*.json"))


def test_a_record_says_what_was_timed_and_where(rows):
    _, by_key = rows
    record = by_key[cell("Penalised", mode="training").key].record
    assert record["parameter_count"] == 16 * 17
    assert record["facts"]["multiply_adds"] == 256
    assert record["facts"]["peak_bytes"] > record["facts"]["parameter_bytes"] == 4 * 16 * 17
    assert record["facts"]["floor_seconds"] > 0
    assert {"processor", "governor", "load", "threads", "commit", "torch", "caches", "turbo",
            "smt", "physical_cores"} <= record["provenance"].keys()  # fmt: skip
    first, last = record["timing"]["rounds"]
    assert first["reference"] == "dense matrix"
    assert first["finished"] <= last["finished"] == record["provenance"]["finished"]
    assert record["timing"]["sampling"] == dataclasses.asdict(QUICK)
    assert (record["provenance"]["device"], record["provenance"]["threads"]) == ("cpu", 1)


def test_what_cannot_be_timed_is_a_row_that_says_so(rows):
    store, by_key = rows
    failed = {
        row.cell.baseline: row.record["status"]
        for row in by_key.values()
        if row.record["status"] != "done"
    }
    assert failed == {
        "Refusing": "unsupported", "Dying": "crashed", "Sloppy": "wrong output",
        "Grasping": "out of memory", "dense": "out of memory",
    }  # fmt: skip
    assert {r["status"] for r in store.failures("time")} == set(failed.values())
    assert by_key[cell("Refusing").key].record["error"] == "16 -> 16: no size is good enough"


def test_without_dense_there_is_a_time_and_no_ratio(rows):
    _, by_key = rows
    record = by_key[cell("low_rank", shape=(24, 24)).key].record
    assert record["status"] == "done"
    assert "dense" not in record["timing"]["rounds"][0]


def test_the_order_within_a_round_is_shuffled(tmp_path, fake_worker):
    sizes = [(8, 8), (9, 9), (10, 10)]
    cells = [
        cell(name, shape=shape, copy=copy)
        for shape in sizes
        for name, copy in (("dense", False), ("dense", True), ("low_rank", False))
    ]
    measure(cells, Store(tmp_path), dataclasses.replace(PLAN, rounds=8))
    rounds = [fake_worker.asked[i : i + 9] for i in range(0, 72, 9)]
    assert all({c.key for c in one} == {c.key for c in cells} for one in rounds)
    for one in rounds:  # a group stays together
        groups = [c.shape for c in one]
        assert [groups[i : i + 3].count(groups[i]) for i in (0, 3, 6)] == [3, 3, 3]
    assert len({tuple(c.shape for c in one) for one in rounds}) > 2
    firsts = [one[0].baseline + str(one[0].copy) for one in rounds]
    assert len(set(firsts)) > 1

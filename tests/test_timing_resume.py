"""A session that is cut off goes on from its last complete round, and nothing is lost."""

from __future__ import annotations

import dataclasses
import multiprocessing

import pytest
from timing_sessions import (  # noqa: F401 - a fixture for all
    PLAN,
    FakeWorker,
    Heard,
    cell,
    own_locks,
    quiet,
)

from slt_bench import progress
from slt_bench.store import Store
from slt_bench.timing import noise, session
from slt_bench.timing.session import Stopped, measure
from slt_bench.timing.state import State, StateFile

CELLS = [cell(), cell(copy=True), cell("low_rank")]
LONG = dataclasses.replace(PLAN, rounds=5)


@pytest.fixture(autouse=True)
def worker(monkeypatch):
    FakeWorker.reset()
    monkeypatch.setattr(session, "Worker", FakeWorker)
    monkeypatch.setattr(noise.Meter, "others", lambda self: 0.0)
    return FakeWorker


def states(store):
    return list(store.checkpoints.glob("*.json"))


def rounds_of(rows):
    return {tuple(r["round"] for r in row.record["timing"]["rounds"]) for row in rows}


def interrupted(store, worker, at=8):
    """Stopped by Ctrl-C in the ``at``-th measurement: the eighth is the second of round 3."""
    worker.interrupt_at = at
    with pytest.raises(KeyboardInterrupt):
        measure(CELLS, store, LONG)
    worker.reset()


def test_the_same_call_goes_on_after_the_last_complete_round(tmp_path, worker):
    store, heard = Store(tmp_path), Heard()
    interrupted(store, worker)
    assert not list(store.records())
    assert len(states(store)) == 1
    rows = measure(CELLS, store, LONG, heard)
    assert heard.resumptions == [(2, 5)]
    assert [phase for phase, _ in heard.phases] == [f"round {n} of 5" for n in (3, 4, 5)]
    assert len(worker.asked) == 9
    assert rounds_of(rows) == {(1, 2, 3, 4, 5)}
    assert len(list(store.records("time"))) == 3
    assert not states(store)


def test_what_is_gone_on_from_is_what_was_measured(tmp_path, worker):
    """Cut off or not, the records are the same: the copy is slower from round 2 on."""
    whole = [row.record for row in measure(CELLS, Store(tmp_path / "whole"), LONG)]
    worker.reset()
    store = Store(tmp_path / "cut")
    for last in (1, 2, 4):
        with pytest.raises(Stopped, match=f"stopped after round {last} of 5"):
            measure(CELLS, store, dataclasses.replace(LONG, stop_after=last))
    started = worker.started
    with pytest.raises(Stopped, match="after round 4 of 5"):  # nothing to do, nothing started
        measure(CELLS, store, dataclasses.replace(LONG, stop_after=3))
    assert worker.started == started
    assert [row.record for row in measure(CELLS, store, LONG)] == whole


def test_a_killed_session_goes_on(tmp_path, worker):
    store = Store(tmp_path)
    worker.kill_at = 11
    context = multiprocessing.get_context("fork")
    child = context.Process(target=measure, args=(CELLS, store, LONG))
    child.start()
    child.join()
    assert child.exitcode == -9
    worker.reset()
    assert rounds_of(measure(CELLS, store, LONG)) == {(1, 2, 3, 4, 5)}
    assert len(worker.asked) == 6


def test_the_facts_are_kept_too(tmp_path, worker):
    store, heard = Store(tmp_path), Heard()
    interrupted(store, worker, at=1)
    measure(CELLS, store, LONG, heard)
    assert heard.resumptions == [(0, 5)]
    assert heard.phases[0] == ("round 1 of 5", 3)


def test_a_damaged_or_another_sessions_state_is_not_gone_on_from(tmp_path, worker):
    store, heard = Store(tmp_path), Heard()
    interrupted(store, worker)
    for plan in (PLAN, dataclasses.replace(LONG, protocol=dataclasses.replace(
            PLAN.protocol, samples=4))):  # fmt: skip
        measure(CELLS, store, plan, heard)
    measure(CELLS, store, LONG, heard, match="0.1")
    measure([*CELLS, cell("low_rank", batch=5)], store, LONG, heard)
    assert not heard.resumptions
    for text in ("{", "[]", "{}"):
        (file,) = states(store)
        file.write_text(text)
        assert StateFile(file).read() is None


def test_an_edited_baseline_is_measured_anew(tmp_path, worker, monkeypatch):
    store, heard = Store(tmp_path), Heard()
    interrupted(store, worker)
    monkeypatch.setattr("slt_bench.timing.state.source_digest", lambda cls: "edited")
    measure(CELLS, store, LONG, heard)
    assert not heard.resumptions


def test_states_are_kept_out_of_git(tmp_path, worker):
    store = Store(tmp_path)
    interrupted(store, worker)
    assert (store.checkpoints / ".gitignore").read_text() == "*\n"


def test_a_machine_that_becomes_loud_loses_no_round(tmp_path, monkeypatch, worker):
    store, heard = Store(tmp_path), Heard()
    plan = dataclasses.replace(LONG, allow_noisy=False)
    quiet(monkeypatch, [0.0, *[0.0, 0.0] * 2, 0.5])  # at the start; before and during each round
    with pytest.raises(noise.Noisy, match="the first 2 of 5 rounds are kept, and the same command"):
        measure(CELLS[:1], store, plan)
    quiet(monkeypatch, [0.5])
    with pytest.raises(noise.Noisy, match="the first 2 of 5 rounds are kept"):
        measure(CELLS[:1], store, plan)
    monkeypatch.setattr(noise.Meter, "others", lambda self: 0.0)
    measure(CELLS[:1], store, plan, heard)
    assert heard.resumptions == [(2, 5)]


def test_noisy_rows_can_be_published_without_measuring_again(tmp_path, worker):
    store, heard = Store(tmp_path), Heard()
    strict = dataclasses.replace(PLAN, allow_noisy=False)
    assert [row.published for row in measure(CELLS, store, strict)] == [True, False, True]
    assert len(states(store)) == 1
    worker.reset()
    rows = measure(CELLS, store, PLAN, heard)
    assert (worker.started, worker.asked) == (0, [])
    assert heard.resumptions == [(2, 2)]
    assert [bool(row.noisy) for row in rows] == [False, True, False]
    assert len(list(store.records("time"))) == 3
    assert not states(store)


def test_without_that_leave_noisy_rows_are_measured_anew(tmp_path, worker):
    store, heard = Store(tmp_path), Heard()
    strict = dataclasses.replace(PLAN, allow_noisy=False)
    measure(CELLS, store, strict)
    worker.reset()
    measure(CELLS, store, strict, heard)
    assert not heard.resumptions
    assert len(worker.asked) == 6


def test_a_state_survives_the_disk(tmp_path, worker):
    store = Store(tmp_path)
    interrupted(store, worker)
    file = StateFile.of(store, CELLS, LONG, None)
    state = file.read()
    assert isinstance(state, State)
    assert state.complete == len(state.seconds) == len(state.before) == 2
    file.write(state)
    assert file.read() == state


# What is said ----------------------------------------------------------------------------------


def test_a_watcher_hears_of_every_process(tmp_path):
    heard = Heard()
    measure(CELLS, Store(tmp_path), PLAN, heard)
    assert heard.phases == [("facts", 4), ("round 1 of 2", 3), ("round 2 of 2", 3)]
    assert heard.ends == [("facts", False), ("round 1 of 2", True), ("round 2 of 2", False)]
    assert len(heard.processes) == 4 + 3 + 3
    assert heard.processes[3] == "rates of cpu, threads 1, float32"


def test_plain_lines_say_how_far_it_is(tmp_path, capsys, worker):
    store = Store(tmp_path)
    interrupted(store, worker)
    with progress.TimeWatch("as long as it takes") as watch:
        measure(CELLS, store, LONG, watch)
    resumed, *rounds = capsys.readouterr().err.splitlines()
    assert resumed.startswith("going on after round 2 of 5, measured ")
    assert resumed.endswith(" ago")
    assert [line.partition(":")[0] for line in rounds] == [f"round {n} of 5" for n in (3, 4, 5)]
    assert "to go, until " in rounds[0]
    assert "to go" not in rounds[-1]

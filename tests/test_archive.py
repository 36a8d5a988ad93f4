"""The flat archive: whole at every moment, and it keeps what it has."""

from __future__ import annotations

import json
import os
import time
import zipfile

import pytest
from records import make_failure, make_record, make_trial

from slt_bench.archive import Archive
from slt_bench.errors import UsageError
from slt_bench.merging import merge
from slt_bench.store import Store

A, B, C = (make_trial("low_rank", seed) for seed in range(3))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "reports")


def names(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


def test_it_holds_what_the_store_gains_and_nothing_else(store, tmp_path):
    path = tmp_path / "out" / "records.zip"
    store.publish(make_record(A, 1.0))  # was there before
    archive = Archive(path, store)
    assert names(path) == set()
    store.publish_failure(make_failure(B))
    archive.update()
    assert names(path) == {f"{B.key}.failed.json"}
    store.publish(make_record(B, 1.0))  # success takes the failure away
    store.publish(make_record(C, 1.0))
    archive.update()
    archive.add("tests.txt", "12 passed")
    assert names(path) == {f"{B.key}.json", f"{C.key}.json", "tests.txt"}
    assert archive.record_count == 2
    store.publish(make_record(C, 2.0))
    archive.update()
    with zipfile.ZipFile(path) as found:
        assert json.loads(found.read(f"{C.key}.json")) == make_record(C, 2.0)
    there = Store(tmp_path / "there")
    assert [outcome.what for outcome in merge(there, [path])] == ["added"] * 2
    assert there.read(B.identity, B.key) == make_record(B, 1.0)


def test_nothing_new_writes_nothing(store, tmp_path):
    archive = Archive(tmp_path / "records.zip", store)
    store.publish(make_record(A, 1.0))
    archive.update()
    before = archive.path.stat()
    archive.update()
    assert archive.path.stat().st_ino == before.st_ino


def test_an_earlier_archive_is_gone_on_from(store, tmp_path):
    path = tmp_path / "records.zip"
    first = Archive(path, store)
    store.publish(make_record(A, 1.0))
    first.update()
    second = Archive(path, store)  # as after a cut-off
    assert names(path) == {f"{A.key}.json"}
    store.publish(make_record(B, 1.0))
    second.update()
    assert names(path) == {f"{A.key}.json", f"{B.key}.json"}


def test_a_failed_write_leaves_the_archive_as_it_was(store, tmp_path, monkeypatch):
    archive = Archive(tmp_path / "records.zip", store)
    archive.add("a.txt", "a")
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError("disk is full")))
    with pytest.raises(OSError, match="disk is full"):
        archive.add("b.txt", "b")
    monkeypatch.undo()
    assert names(archive.path) == {"a.txt"}
    assert list(tmp_path.glob(".*")) == []
    store.publish(make_record(A, 1.0))
    archive.update()
    assert names(archive.path) == {"a.txt", "b.txt", f"{A.key}.json"}


def test_it_is_kept_up_to_date_while_other_code_runs(store, tmp_path, monkeypatch):
    monkeypatch.setattr("slt_bench.archive._SECONDS", 0.01)
    archive = Archive(tmp_path / "records.zip", store)
    with archive.kept_up_to_date(print):
        store.publish(make_record(A, 1.0))
        deadline = time.monotonic() + 60
        while not names(archive.path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert names(archive.path) == {f"{A.key}.json"}
        monkeypatch.setattr("slt_bench.archive._SECONDS", 60.0)
        store.publish(make_record(B, 1.0))
    assert f"{B.key}.json" in names(archive.path)


def test_what_is_no_archive_is_not_overwritten(store, tmp_path):
    path = tmp_path / "thesis.txt"
    path.write_text("years of work")
    with pytest.raises(UsageError, match="exists and is no zip"):
        Archive(path, store)
    assert path.read_text() == "years of work"
    with pytest.raises(UsageError, match="cannot write"):
        Archive(path / "records.zip", store)

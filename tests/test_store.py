"""The store: atomic records, failures, look-up."""

from __future__ import annotations

import json

import pytest

from slt_bench.errors import UsageError
from slt_bench.store import Store, find_reports, load_records, write_atomically


def record(key: str, **changes) -> dict:
    trial = {"kind": "train", "task": "adding", "baseline": "dense", "slots": [], "seed": 0}
    metrics = {"final": {"loss": 0.1}}
    return {"key": key, "kind": "train", "trial": trial, "status": "done", "metrics": metrics,
            "curves": {"validation": []}, **changes}  # fmt: skip


def test_a_record_is_found_again(tmp_path):
    store = Store(tmp_path)
    path = store.publish(record("abc1"))
    assert path == tmp_path / "results/train/adding/dense/abc1.json"
    assert store.read(record("abc1")["trial"], "abc1") == record("abc1")
    assert store.read(record("abc1")["trial"], "abc2") is None


def test_a_failure_is_never_read_as_a_result_and_goes_away_with_success(tmp_path):
    store = Store(tmp_path)
    store.publish_failure(record("abc1", status="crashed"))
    assert list(store.records()) == []
    assert [f["status"] for f in store.failures()] == ["crashed"]
    assert store.read(record("abc1")["trial"], "abc1") is None
    store.publish(record("abc1"))
    assert list(store.failures()) == []
    assert len(list(store.records())) == 1


def test_a_write_that_fails_leaves_the_old_record_and_no_debris(tmp_path, monkeypatch):
    store = Store(tmp_path)
    path = store.publish(record("abc1"))

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        store.publish(record("abc1", status="other"))
    assert json.loads(path.read_text())["status"] == "done"
    assert [p.name for p in path.parent.iterdir()] == ["abc1.json"]


def test_no_number_that_json_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).publish(record("abc1", metrics={"loss": float("nan")}))


def test_records_are_found_by_the_start_of_their_key(tmp_path):
    store = Store(tmp_path)
    store.publish(record("abc1"))
    store.publish(record("abd2"))
    store.publish_failure(record("fff3", status="timeout"))
    assert store.find("abc")["key"] == "abc1"
    assert store.find("fff")["status"] == "timeout"
    with pytest.raises(UsageError, match="2 records match 'ab': abc1, abd2"):
        store.find("ab")
    with pytest.raises(UsageError, match="no record's key starts with '77'"):
        store.find("77")


def test_a_damaged_record_is_named(tmp_path):
    store = Store(tmp_path)
    store.publish(record("abc1")).write_text("{")
    with pytest.raises(UsageError, match=r"abc1\.json is not a record .* delete it"):
        list(store.records())


def test_half_written_files_are_no_records(tmp_path):
    store = Store(tmp_path)
    path = store.publish(record("abc1"))
    (path.parent / ".abc2.json.123.tmp").write_text("{")
    assert len(list(store.records())) == 1


def test_records_as_a_table(tmp_path):
    store = Store(tmp_path)
    store.publish(record("abc1"))
    store.publish(record("abc2"))
    frame = load_records(tmp_path)
    assert list(frame["key"]) == ["abc1", "abc2"]
    assert list(frame["metrics.final.loss"]) == [0.1, 0.1]
    assert list(frame["task"]) == ["adding", "adding"]
    assert frame["curves"][0] == {"validation": []}
    assert load_records(tmp_path / "nowhere").empty


def test_where_the_reports_are(tmp_path, monkeypatch):
    monkeypatch.delenv("SLT_BENCH_RESULTS", raising=False)
    inside = tmp_path / "checkout" / "deep"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert find_reports() == inside / "slt-bench-reports"
    (tmp_path / "checkout/reports/suites").mkdir(parents=True)
    assert find_reports() == tmp_path / "checkout/reports"
    monkeypatch.setenv("SLT_BENCH_RESULTS", str(tmp_path / "elsewhere"))
    assert find_reports() == tmp_path / "elsewhere"
    assert find_reports(tmp_path / "given") == tmp_path / "given"


def test_a_file_is_no_reports_folder(tmp_path):
    write_atomically(tmp_path / "file", "")
    with pytest.raises(UsageError, match="is a file"):
        Store(tmp_path / "file")
